-- One row per run, head and scale: mean direct effect before and after, and the share of positions.
-- Section 5.3 and appendix E: the repression of a self-repressing head is proportional to the
-- scale. gain is the change with the sign of the clean direct effect; gain_per_scale is then
-- constant.
select
    run_id,
    layer,
    head,
    head_name(layer, head) as name,
    * exclude (run_id, layer, head),
    gain / nullif(scale, 0) as gain_per_scale,
    gain_se / nullif(scale, 0) as gain_per_scale_se
from reinforcement_means

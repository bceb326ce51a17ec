-- One row per run, ablation and head: mean direct effect against mean logit change, over all rows.
-- Fig. 2 and 20-22 (section 2.2, appendix F): x is direct_effect, y is logit_change. Heads between
-- the line y = -x and the x-axis are self-repaired: -1 < logit_change / direct_effect < 0.
select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    direct_effect_all as direct_effect,
    direct_effect_all_se as direct_effect_se,
    logit_change_all as logit_change,
    logit_change_all_se as logit_change_se,
    logit_change_all * direct_effect_all < 0
    and abs(logit_change_all) < abs(direct_effect_all) as self_repaired,
    n_rows_all as n_rows
from head_summary

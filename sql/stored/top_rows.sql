-- One row per run, ranking, ablation, head and kept position: both rankings' top rows, stored.
-- Ask the views top_by_direct_effect and top_by_mlp_repair, which name the ranking.
select
    'direct_effect' as ranking,
    *
from top_by_direct_effect_at($top_fraction)
where run_id = $run_id
    and layer between $first_layer and $last_layer
union all
select
    'mlp_repair' as ranking,
    *
from top_by_mlp_repair_at($top_fraction)
where run_id = $run_id
    and layer between $first_layer and $last_layer
order by
    ranking,
    run_id,
    ablation,
    layer,
    head,
    sequence,
    position

-- One row per run, ablation and layer: the mean over heads of head_summary's means.
-- Over the heads' top rows, and (_all) over all their rows. Every `_se` is by cluster
-- over all heads of the layer at once (stored layer_means). The lines of figures 1, 6, 10 and 11.
with

over_top as (
    select * exclude (row_set)
    from layer_means
    where row_set = 'top_by_direct_effect'
)

select
    run_id,
    ablation,
    layer,
    over_all.n_heads,
    top_fraction,
    coalesce(over_top.n_rows, 0) as n_rows,
    coalesce(over_top.n_clusters, 0) as n_clusters,
    over_top.* exclude (run_id, ablation, layer, n_heads, n_rows, n_clusters),
    over_all.* exclude (run_id, ablation, layer, n_heads)
from over_all_rows_of('layer_means') as over_all
left join over_top using (run_id, ablation, layer)
join runs using (run_id)

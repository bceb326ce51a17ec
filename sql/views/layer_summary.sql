-- One row per run, ablation and layer: the mean over heads of head_summary's means.
-- Over the heads' top rows, and (_all) over all their rows. Every `_se` is by cluster
-- over all heads of the layer at once (stored layer_means). The lines of figures 1, 6, 10 and 11.
with

-- direct_effect becomes direct_effect_all, and direct_effect_se direct_effect_all_se.
over_all as (
    select
        run_id,
        ablation,
        layer,
        n_heads,
        n_rows as n_rows_all,
        n_clusters as n_clusters_all,
        columns('^(.*)_se$') as "\1_all_se",
        columns(
            lambda name: name not in (
                'run_id', 'ablation', 'layer', 'row_set', 'n_heads', 'n_rows', 'n_clusters'
            )
            and not suffix(name, '_se')
        ) as "\0_all"
    from layer_means
    where row_set = 'all'
),

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
from over_all
left join over_top using (run_id, ablation, layer)
join runs using (run_id)

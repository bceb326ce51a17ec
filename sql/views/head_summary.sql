-- One row per run, ablation and head: means over the head's top rows, and (_all) over all its rows.
-- The top rows are the floor(top_fraction * N) of largest direct_effect (section 2.2); the means of
-- the clipped fractions are those of section 3.2 and appendix A. Every `_se` is its mean's standard
-- error, by cluster (run_clusters; stored head_means). Figures 1, 2, 6, 10 and 11 draw from here;
-- head_summary_at(fraction) is the same for another fraction.
with

over_top as (
    select * exclude (row_set)
    from head_means
    where row_set = 'top_by_direct_effect'
)

select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    top_fraction,
    coalesce(over_top.n_rows, 0) as n_rows,
    coalesce(over_top.n_clusters, 0) as n_clusters,
    over_top.* exclude (run_id, ablation, layer, head, n_rows, n_clusters),
    over_all.* exclude (run_id, ablation, layer, head)
from over_all_rows_of('head_means') as over_all
left join over_top using (run_id, ablation, layer, head)
join runs using (run_id)

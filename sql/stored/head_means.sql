-- One row per run, ablation, head and set of rows: the mean of every quantity, and ratios of means.
-- The sets are 'all' and 'top_by_direct_effect'; head_summary has them side by side.
-- Every `_se` is a standard error by cluster (run_clusters). For the top rows it counts that they
-- are selected: other text has another cut (influence).
with

totals as (
    select *
    from cluster_totals
    where run_id = $run_id
        and layer between $first_layer and $last_layer
),

influences as (
    select *
    from head_influences
    where run_id = $run_id
        and layer between $first_layer and $last_layer
)

select *
from head_means_of('totals', 'influences')
order by
    run_id,
    ablation,
    layer,
    head,
    row_set

-- One row per run, ablation, layer and set of rows: the mean over heads of the heads' means.
-- The sets are 'all' and 'top_by_direct_effect'; layer_summary has them side by side.
-- Heads of a layer are measured on the same text and are not independent, so that their errors
-- cannot be added in squares. A cluster moves the layer's mean by the mean of its influences on the
-- heads' means: the error is that of the mean of these heads over other text, not over other
-- heads. A head without rows is left out of the mean.
with

means as (
    select
        run_id,
        ablation,
        layer,
        row_set,
        count(*) as n_heads,
        sum(n_rows)::bigint as n_rows,
        avg(columns(quantities())) as "\0"
    from head_means
    where run_id = $run_id
        and layer between $first_layer and $last_layer
    group by all
),

influences as (
    select
        run_id,
        ablation,
        layer,
        row_set,
        cluster,
        avg(columns(quantities())) as "\0"
    from head_influences
    where run_id = $run_id
        and layer between $first_layer and $last_layer
    group by all
),

errors as (
    select
        run_id,
        ablation,
        layer,
        row_set,
        count(*) as n_clusters,
        standard_error(columns(quantities())) as "\0_se"
    from influences
    group by all
)

select
    run_id,
    ablation,
    layer,
    row_set,
    n_heads,
    n_rows,
    coalesce(n_clusters, 1) as n_clusters,
    means.* exclude (run_id, ablation, layer, row_set, n_heads, n_rows),
    errors.* exclude (run_id, ablation, layer, row_set, n_clusters)
from means
left join errors using (run_id, ablation, layer, row_set)

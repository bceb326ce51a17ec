-- One row per run, ablation, head and set of rows: the mean of every quantity.
-- The sets are 'all' and 'top_by_direct_effect'; head_summary has them side by side.
-- Every `_se` is the standard error of its mean, clustered by sequence (tally_standard_error). For
-- the top rows it takes the rows as given: which rows are on top is not counted as chance.
select
    run_id,
    ablation,
    layer,
    head,
    row_set,
    sum(n_rows)::bigint as n_rows,
    count(*) as n_sequences,
    tally_mean(columns(
        * exclude (run_id, ablation, layer, head, row_set, sequence, n_rows)
    )) as "\0",
    tally_standard_error(columns(
        * exclude (run_id, ablation, layer, head, row_set, sequence, n_rows)
    )) as "\0_se"
from sequence_totals
where run_id = $run_id
group by
    run_id,
    ablation,
    layer,
    head,
    row_set

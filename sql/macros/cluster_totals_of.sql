-- One row per run, ablation, head, set of rows and cluster that has such rows: its tallies.
-- `row_sets` names rows of self_repair with the columns row_set and cluster. A tally holds the
-- total and the count of a quantity (quantities_of), from which means and their clustered errors
-- follow.
create macro cluster_totals_of(row_sets) as table
select
    run_id,
    ablation,
    layer,
    head,
    row_set,
    cluster,
    count(*) as n_rows,
    tally(columns(quantities())) as "\0"
from quantities_of(row_sets)
group by all

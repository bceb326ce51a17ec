-- One row per run, ablation, head, set of rows and cluster that has such rows: its tallies.
-- The sets are 'all' and 'top_by_direct_effect', the clusters those of position_clusters;
-- cluster_totals_of says what is counted.
with

row_sets as (
    select *
    from rows_of_sets()
    join position_clusters using (run_id, sequence, position)
    where run_id = $run_id
        and layer between $first_layer and $last_layer
        and head between $first_head and $last_head
)

select *
from cluster_totals_of('row_sets')

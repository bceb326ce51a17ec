-- One row per run, ablation, head, set of rows and cluster that has such rows: its tallies.
-- The sets are 'all' and 'top_by_direct_effect', the clusters those of position_clusters;
-- cluster_totals_of says what is counted.
-- per: layer
with

everything as (
    select
        'all' as row_set,
        *
    from self_repair
    where run_id = $run_id
        and layer = $layer
),

kept as (
    select
        'top_by_direct_effect' as row_set,
        * exclude (rank)
    from top_by_direct_effect
    where run_id = $run_id
        and layer = $layer
),

row_sets as (
    select *
    from (
        from everything
        union all by name
        from kept
    )
    join position_clusters using (run_id, sequence, position)
)

select *
from cluster_totals_of('row_sets')

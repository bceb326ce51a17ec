-- One row per positions left out, run, ablation, head and set of rows: means without them.
-- `numbers` lists how many first positions of every sequence are left out, such as [0, 4]: the
-- first few are where attention sinks are, and where sequences begin with BOS it is at position 0.
-- The sets are 'all' and 'top_by_direct_effect', the latter without those of the head's top rows
-- that are left out: the top rows are not chosen anew. All rows are read: name the run and the
-- layer. Stored head_means_by_positions_left_out has it for 0, 1 and 4. Errors are by cluster;
-- the top rows are selected by direct_effect, so that theirs of it and of direct_effect_removed
-- would be too small, and are null.
create macro head_means_without_first(numbers) as table
with

-- The rows of a cluster from which on none is left out count together.
beginnings as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        cluster,
        least(position, list_max(numbers)) as place,
        count(*) as n_rows,
        tally(columns(quantities_by_position())) as "\0"
    from rows_of_sets()
    join position_clusters using (run_id, sequence, position)
    group by all
),

settings as (
    select unnest(numbers) as positions_left_out
),

clusters as (
    select
        positions_left_out,
        run_id,
        ablation,
        layer,
        head,
        row_set,
        cluster,
        sum(n_rows) as n_rows,
        tally_sum(columns(quantities_by_position())) as "\0"
    from beginnings
    join settings on place >= positions_left_out
    group by all
),

means as (
    select
        positions_left_out,
        run_id,
        ablation,
        layer,
        head,
        row_set,
        sum(n_rows)::bigint as n_rows,
        count(*) as n_clusters,
        tally_mean(columns(quantities_by_position())) as "\0",
        tally_standard_error(columns(quantities_by_position())) as "\0_se"
    from clusters
    group by all
)

select * replace (
    if(row_set = 'all', direct_effect_se, null) as direct_effect_se,
    if(row_set = 'all', direct_effect_removed_se, null) as direct_effect_removed_se
)
from means

-- One row per run, ablation, head and bin of positions: what the head does there, and who repairs.
-- Means over all the head's rows at positions position_from to position_to of their sequences: the
-- first eight positions by themselves, then wider and wider bins (position_bin). Sequences that
-- begin with BOS have it at position 0, where resampling changes nothing; attention sinks are at
-- the first positions. n_top_rows says how many of the head's top rows (by direct_effect) are
-- there. Errors are by cluster (tally_standard_error).
with

clusters as (
    select
        run_id,
        ablation,
        layer,
        head,
        position_bin(position) as position_from,
        cluster,
        count(*) as n_rows,
        max(position) as position_to,
        tally(columns(quantities_by_position())) as "\0"
    from self_repair
    join position_clusters using (run_id, sequence, position)
    where run_id = $run_id
        and layer between $first_layer and $last_layer
    group by all
),

top as (
    select
        ablation,
        layer,
        head,
        position_bin(position) as position_from,
        count(*) as n_top_rows
    from top_by_direct_effect
    where run_id = $run_id
        and layer between $first_layer and $last_layer
    group by all
),

means as (
    select
        run_id,
        ablation,
        layer,
        head,
        position_from,
        max(position_to) as position_to,
        sum(n_rows)::bigint as n_rows,
        count(*) as n_clusters,
        tally_mean(columns(quantities_by_position())) as "\0",
        tally_standard_error(columns(quantities_by_position())) as "\0_se"
    from clusters
    group by all
)

select
    means.* exclude (position_from, position_to),
    position_from::integer as position_from,
    position_to,
    coalesce(n_top_rows, 0) as n_top_rows
from means
left join top using (ablation, layer, head, position_from)
order by
    run_id,
    ablation,
    layer,
    head,
    position_from

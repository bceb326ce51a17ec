-- One row per positions left out, run, ablation, ablated head and downstream component.
-- Who repairs whom: the mean over the ablated head's top rows (by direct_effect) of the change in
-- direct effect of every downstream head and MLP layer, ablated minus clean, with the clean S; once
-- over all of them, and without those at the first positions_left_out (1: BOS, where a sequence
-- begins with it; 4: the positions that attention sinks are at). View component_repairs has those
-- that leave out none. The error is by cluster (tally_standard_error).
-- A single token can make a mean: direct_effect_change_trimmed (trimmed_mean) stands beside it.
with

models as (
    select
        run_id,
        n_layers,
        n_heads
    from runs
),

kept as materialized (
    select
        run_id,
        ablation,
        layer,
        head,
        cluster,
        position,
        len(head_changes) as n_head_changes,
        len(mlp_changes) as n_mlp_changes,
        head_changes || mlp_changes as changes
    from component_changes
    join position_clusters using (run_id, sequence, position)
    where run_id = $run_id
        and layer between $first_layer and $last_layer
        and head between $first_head and $last_head
),

settings as (
    select unnest([0, 1, 4]) as positions_left_out
),

-- Of one row for each cluster the lists are added, which is faster than grouping their items.
clusters as materialized (
    select
        run_id,
        positions_left_out,
        ablation,
        layer,
        head,
        cluster,
        count(*) as n,
        any_value(n_head_changes) as n_head_changes,
        any_value(n_mlp_changes) as n_mlp_changes,
        summed_lists(list(changes)) as totals
    from kept
    join settings on position >= positions_left_out
    group by all
),

listed as (
    select
        run_id,
        positions_left_out,
        ablation,
        layer,
        head,
        n_head_changes,
        n_mlp_changes,
        unnest(range(len(totals))) as place,
        struct_pack(total := unnest(totals), n := n) as direct_effect_change
    from clusters
),

means as (
    select
        run_id,
        positions_left_out,
        ablation,
        layer,
        head,
        place,
        any_value(n_head_changes) as n_head_changes,
        any_value(n_mlp_changes) as n_mlp_changes,
        sum(direct_effect_change.n)::bigint as n_rows,
        count(*) as n_clusters,
        tally_mean(direct_effect_change) as direct_effect_change,
        tally_standard_error(direct_effect_change) as direct_effect_change_se
    from listed
    group by all
),

counts as (
    select
        ablation,
        layer,
        head,
        n_trimmed_of(count(*)) as n_trimmed_0,
        n_trimmed_of(count_if(position >= 1)) as n_trimmed_1,
        n_trimmed_of(count_if(position >= 4)) as n_trimmed_4
    from kept
    group by all
),

items as (
    select
        kept.ablation,
        kept.layer,
        kept.head,
        position,
        n_trimmed_0,
        n_trimmed_1,
        n_trimmed_4,
        unnest(range(len(changes))) as place,
        unnest(changes)::double as change
    from kept
    join counts using (ablation, layer, head)
),

trimmed as (
    select
        ablation,
        layer,
        head,
        place,
        unnest([0, 1, 4]) as positions_left_out,
        unnest([
            trimmed_mean(change, n_trimmed_0),
            trimmed_mean(if(position >= 1, change, null), n_trimmed_1),
            trimmed_mean(if(position >= 4, change, null), n_trimmed_4)
        ]) as direct_effect_change_trimmed
    from items
    group by
        ablation,
        layer,
        head,
        place
)

select
    positions_left_out::smallint as positions_left_out,
    run_id,
    ablation,
    layer,
    head,
    if(place < n_head_changes, 'head', 'mlp') as component,
    if(
        place < n_head_changes,
        layer + 1 + place // n_heads,
        n_layers - n_mlp_changes + place - n_head_changes
    )::smallint as component_layer,
    if(place < n_head_changes, place % n_heads, null)::smallint as component_head,
    n_rows,
    n_clusters,
    direct_effect_change,
    direct_effect_change_se,
    direct_effect_change_trimmed
from means
join trimmed using (positions_left_out, ablation, layer, head, place)
join models using (run_id)
order by all

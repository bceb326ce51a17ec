-- One row per run, ablation, ablated head and neuron rank: the Nth most repairing neuron.
-- Over the head's top rows (by direct_effect), N = 1 to 50: which neuron it is changes from row to
-- row. repaired_above_x is the share of rows in which its change is more than x % of the head's
-- direct effect, with that one's sign (section 4.2, Fig. 8). Anti-erasure is a clean direct effect
-- against the head's, and a change with it. Errors are by cluster.
with

kept as (
    select
        run_id,
        ablation,
        layer,
        head,
        sequence,
        position,
        cluster,
        sign(direct_effect) as side,
        abs(direct_effect) as size
    from top_by_direct_effect
    join position_clusters using (run_id, sequence, position)
    where run_id = $run_id
        and layer between $first_layer and $last_layer
        and head between $first_head and $last_head
),

neurons as (
    select
        ablation,
        layer,
        head,
        cluster,
        side,
        size,
        unnest(range(1, len(neurons) + 1))::smallint as neuron_rank,
        unnest(direct_effects)::double as direct_effect,
        unnest(direct_effects_ablated)::double as direct_effect_ablated
    from neuron_repairs
    join kept using (run_id, ablation, layer, head, sequence, position)
    where run_id = $run_id
        and layer between $first_layer and $last_layer
        and head between $first_head and $last_head
),

changes as (
    select
        *,
        direct_effect_ablated - direct_effect as direct_effect_change,
        side * direct_effect_change as repair,
        side * direct_effect < 0 and repair > 0 as anti_erasure
    from neurons
),

medians as (
    select
        ablation,
        layer,
        head,
        neuron_rank,
        median(direct_effect) as direct_effect_median
    from changes
    group by all
),

totals as (
    select
        ablation,
        layer,
        head,
        neuron_rank,
        cluster,
        count(*) as n,
        sum(columns(['direct_effect', 'direct_effect_change'])) as "\0",
        count_if(anti_erasure) as share_anti_erasure,
        count_if(repair > 0.5 * size) as repaired_above_50,
        count_if(repair > 0.1 * size) as repaired_above_10,
        count_if(repair > 0.05 * size) as repaired_above_5,
        count_if(repair > 0.02 * size) as repaired_above_2,
        count_if(repair > 0.01 * size) as repaired_above_1
    from changes
    group by all
),

tallies as (
    select
        ablation,
        layer,
        head,
        neuron_rank,
        n,
        struct_pack(
            total := columns(* exclude (ablation, layer, head, neuron_rank, cluster, n)),
            n := n
        ) as "\0"
    from totals
),

means as (
    select
        ablation,
        layer,
        head,
        neuron_rank,
        sum(n)::bigint as n_rows,
        count(*) as n_clusters,
        tally_mean(columns(* exclude (ablation, layer, head, neuron_rank, n))) as "\0",
        tally_standard_error(columns(* exclude (ablation, layer, head, neuron_rank, n)))
            as "\0_se"
    from tallies
    group by all
)

select
    $run_id as run_id,
    means.*,
    direct_effect_median
from means
join medians using (ablation, layer, head, neuron_rank)
order by
    ablation,
    layer,
    head,
    neuron_rank

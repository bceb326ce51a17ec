-- One row per run, ranking, ablation, chosen head and kept position: its most repairing neurons.
-- Ten of them, by the change in direct effect, the largest first; what is equal to 1e-8 logits goes
-- by neuron, the lower first. Of a row kept by direct_effect the change counts with the sign of the
-- head's direct effect; of one kept by mlp_repair as it is, because so is the layer's repair.
-- Fig. 7, section 4.2.2.
with

last_mlp as (
    select
        run_id,
        sequence,
        position,
        direct_effect as mlp_direct_effect
    from mlp_effects
    join runs using (run_id)
    where run_id = $run_id
        and layer = n_layers - 1
),

sides as (
    select
        run_id,
        ranking,
        ablation,
        layer,
        head,
        sequence,
        position,
        ranking = 'direct_effect' as by_effect,
        if(by_effect, sign(direct_effect), 1) as side
    from top_rows
    where run_id = $run_id
        and layer between $first_layer and $last_layer
),

neurons as (
    select
        ranking = 'direct_effect' as by_effect,
        ablation,
        layer,
        head,
        sequence,
        position,
        unnest(range(len(direct_effects)))::integer as neuron,
        unnest(direct_effects) as direct_effect,
        unnest(direct_effects_ablated) as direct_effect_ablated
    from neuron_changes
    where run_id = $run_id
        and layer between $first_layer and $last_layer
),

-- One number to compare by: the change in 1e-8 logits, and below it the neuron, the lower first.
compared as (
    select
        *,
        ((direct_effect_ablated::double - direct_effect) * 1e8)::bigint * 131072 as change,
        change - neuron as rising,
        if(by_effect, -change - neuron, null) as falling
    from neurons
),

tens as (
    select
        by_effect,
        ablation,
        layer,
        head,
        sequence,
        position,
        struct_pack(
            places := max(rising, 10),
            clean := arg_max(direct_effect, rising, 10),
            ablated := arg_max(direct_effect_ablated, rising, 10)
        ) as most_rising,
        struct_pack(
            places := max(falling, 10),
            clean := arg_max(direct_effect, falling, 10),
            ablated := arg_max(direct_effect_ablated, falling, 10)
        ) as most_falling
    from compared
    group by all
),

-- The side is looked up for the tens: joined before, all the neurons would be in memory at once.
most_repairing as (
    select
        sides.*,
        if(side < 0, most_falling, most_rising) as ten
    from tens
    join sides using (by_effect, ablation, layer, head, sequence, position)
)

select
    run_id,
    ranking,
    ablation,
    layer,
    head,
    sequence,
    position,
    mlp_direct_effect,
    list_transform(ten.places, lambda place: (-place & 131071)::integer) as neurons,
    ten.clean as direct_effects,
    ten.ablated as direct_effects_ablated
from most_repairing
join last_mlp using (run_id, sequence, position)
order by
    run_id,
    ranking,
    ablation,
    layer,
    head,
    sequence,
    position

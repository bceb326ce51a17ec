-- One row per run, ranking, ablation, chosen head and kept position: its most repairing neurons.
-- Ten of them, by the change in direct effect, the largest first; ties go to the lower neuron. Of a
-- row kept by direct_effect the change counts with the sign of the head's direct effect; of one
-- kept by mlp_repair as it is, because so is the layer's repair. Fig. 7, section 4.2.2.
-- per: layer
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

kept as (
    select
        run_id,
        ranking,
        ablation,
        layer,
        head,
        sequence,
        position,
        if(ranking = 'direct_effect', sign(direct_effect), 1) as side
    from top_rows
    where run_id = $run_id
        and layer = $layer
),

neurons as (
    select
        run_id,
        ranking,
        ablation,
        layer,
        head,
        sequence,
        position,
        side,
        unnest(range(len(direct_effects)))::integer as neuron,
        unnest(direct_effects) as direct_effect,
        unnest(direct_effects_ablated) as direct_effect_ablated
    from neuron_changes
    join kept using (run_id, ranking, ablation, layer, head, sequence, position)
    where run_id = $run_id
        and layer = $layer
),

most_repairing as (
    select
        run_id,
        ranking,
        ablation,
        layer,
        head,
        sequence,
        position,
        max(
            struct_pack( -- compared from its first field on
                repair := side * (direct_effect_ablated::double - direct_effect),
                before := -neuron,
                clean := direct_effect,
                ablated := direct_effect_ablated
            ),
            10
        ) as ten
    from neurons
    group by
        run_id,
        ranking,
        ablation,
        layer,
        head,
        sequence,
        position
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
    list_transform(ten, lambda one: -one.before) as neurons,
    list_transform(ten, lambda one: one.clean) as direct_effects,
    list_transform(ten, lambda one: one.ablated) as direct_effects_ablated
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

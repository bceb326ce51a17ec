-- The changes of the last MLP layer's neurons must sum to its part of the self-repair.
-- Of every kept row, all neurons (neuron_changes) and their summary (neuron_repairs). To 1e-3
-- logits and a hundred-thousandth of the neurons' sizes; a hundredth where the layer was not
-- measured in fp32, because a product in less precision rounds the layer's sum otherwise than its
-- terms. A norm behind the MLP rescales what its neurons write together, which is in no neuron's
-- change: with post-norms only the lists' lengths are looked at.
with

layers as (
    select
        run_id,
        d_mlp,
        unnest(range(n_layers))::smallint as layer,
        d_mlp > 0 and n_layers - parallel_attention::integer > layer as has_neurons,
        coalesce(post_norm, false) as post_norm,
        if(layer_precision[layer + 1] = 'fp32', 1e-5, 1e-2) as relative
    from runs
),

sums as (
    select
        'neuron_repairs' as relation,
        run_id,
        ablation,
        layer,
        head,
        sequence,
        position,
        net_change as sum_of_changes,
        absolute_change::double as sizes,
        len(neurons) = if(has_neurons, least(50, d_mlp), 0)
        and len(direct_effects) = len(neurons)
        and len(direct_effects_ablated) = len(neurons)
        and (
            len(cumulative_share) = len(cumulative_share_counts(d_mlp, len(cumulative_share)))
            or not has_neurons
        )
        and (len(negligible_counts) = 4 or not has_neurons) as complete
    from neuron_repairs
    join layers using (run_id, layer)
    where layer between $first_layer and $last_layer
    union all
    select
        'neuron_changes, ' || ranking as relation,
        run_id,
        ablation,
        layer,
        head,
        sequence,
        position,
        coalesce(list_sum(direct_effects_ablated) - list_sum(direct_effects), 0) as sum_of_changes,
        coalesce(list_sum(list_transform(direct_effects, lambda x: abs(x))), 0) as sizes,
        (len(direct_effects) = d_mlp or (len(direct_effects) = 0 and not has_neurons))
        and len(direct_effects_ablated) = len(direct_effects) as complete
    from neuron_changes
    join layers using (run_id, layer)
    where layer between $first_layer and $last_layer
)

select
    relation,
    ablation,
    layer,
    head,
    sequence,
    position,
    complete,
    self_repair_from_last_mlp,
    sum_of_changes
from sums
join layers using (run_id, layer)
left join head_ablations using (run_id, ablation, layer, head, sequence, position)
where not complete
    or not coalesce(
        post_norm
        or abs(sum_of_changes - self_repair_from_last_mlp) <= 1e-3 + relative * sizes,
        false
    )

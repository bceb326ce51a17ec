-- The neurons' clean direct effects must sum to their MLP layer's, but for the layer's bias.
-- The bias writes the same to every residual stream, so that (mlp effect - sum of neurons) * S
-- depends on the target alone: each row's must be the mean over the rows of its target (0 in a
-- layer without bias). To 1e-3 logits and a hundred-thousandth of the neurons' sizes.
with

sums as (
    select
        run_id,
        ablation,
        layer,
        head,
        sequence,
        position,
        list_sum(direct_effects) as sum_of_neurons,
        list_sum(list_transform(direct_effects, lambda x: abs(x))) as sizes
    from neuron_changes
    where layer between $first_layer and $last_layer
        and len(direct_effects) > 0
),

last_mlp as (
    select
        run_id,
        sequence,
        position,
        direct_effect as mlp_direct_effect
    from mlp_effects
    join runs using (run_id)
    where layer = n_layers - 1
),

rests as (
    select
        sums.*,
        target,
        ln_scale,
        mlp_direct_effect,
        mlp_direct_effect - sum_of_neurons as rest,
        avg(rest * ln_scale) over (partition by target) / ln_scale as bias_part
    from sums
    join last_mlp using (run_id, sequence, position)
    join tokens using (run_id, sequence, position)
)

select
    ablation,
    layer,
    head,
    sequence,
    position,
    target,
    mlp_direct_effect,
    sum_of_neurons,
    bias_part
from rests
where not abs(rest - bias_part) <= 1e-3 + 1e-5 * sizes

-- One row per ranking, ablation, chosen head, kept position and neuron of the last MLP layer.
-- The clean and the ablated direct effect, act_n * (W_out[n] . u_t) / S, both with the clean S
-- (section 4.1). A position may be kept by both rankings. Name the head and the position, or the
-- head and the ranking: this is d_mlp rows per row of neuron_changes.
select
    run_id,
    ranking,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    sequence,
    position,
    unnest(range(len(direct_effects)))::integer as neuron,
    unnest(direct_effects) as direct_effect,
    unnest(direct_effects_ablated) as direct_effect_ablated
from neuron_changes

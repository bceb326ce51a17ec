-- One row per run, ablation, chosen head and kept position: its one most repairing neuron.
-- Fig. 7 (section 4.1; the paper: Pythia-160M L10H11): x is direct_effect, y is
-- direct_effect_ablated, the colour is mlp_direct_effect. Kept are the head's top rows by the last
-- MLP layer's repair. Anti-erasure: the clean direct effect is negative, the ablated one less so.
select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    sequence,
    position,
    neurons[1] as neuron,
    direct_effects[1] as direct_effect,
    direct_effects_ablated[1] as direct_effect_ablated,
    mlp_direct_effect,
    direct_effects[1] < 0
    and direct_effects_ablated[1] > direct_effects[1] as anti_erasure
from most_repairing_neurons
where ranking = 'mlp_repair'

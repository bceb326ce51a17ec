-- One row per run, ablation, head and hundredth of the neurons: the cumulative share of change.
-- Fig. 12-15 (appendix C): x is n_neurons, y is cumulative_share: of the summed |change in direct
-- effect| of the last MLP layer's neurons, the mean share that the first n_neurons in order of
-- repair have, over the head's top rows (by direct_effect). The colour is direct_effect_median, of
-- the neuron that is number n_neurons in that order: over all top rows for the first 50, for chosen
-- heads (neuron_changes) over some 2,000 of them at most for the rest, else null.
with

first_ones as (
    select
        run_id,
        ablation,
        layer,
        head,
        neuron_rank as n_neurons,
        direct_effect_median
    from neuron_rank_means
),

all_of_chosen_heads as (
    select
        run_id,
        ablation,
        layer,
        head,
        hundredth,
        direct_effect_median
    from neuron_order_medians
)

select
    run_id,
    ablation,
    layer,
    head,
    n_neurons,
    hundredth / 100 as share_of_neurons,
    cumulative_share,
    cumulative_share_se,
    coalesce(first_ones.direct_effect_median, all_of_chosen_heads.direct_effect_median)
        as direct_effect_median,
    n_rows,
    n_sequences
from neuron_cumulative_means
left join first_ones using (run_id, ablation, layer, head, n_neurons)
left join all_of_chosen_heads using (run_id, ablation, layer, head, hundredth)

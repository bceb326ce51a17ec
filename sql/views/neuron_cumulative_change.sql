-- One row per run, ablation, head and measured number of neurons: the cumulative share of change.
-- Fig. 12-15 (appendix C): x is n_neurons, y is cumulative_share: of the summed |change in direct
-- effect| of the last MLP layer's neurons, the mean share that the first n_neurons in order of
-- repair have, over the head's top rows (by direct_effect). Neuron by neuron for the first and the
-- last 50, where the curve is steep, and at every hundredth of the layer between them; runs of an
-- earlier version have only hundredths among the last 50. The colour is direct_effect_median, of
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
        n_neurons,
        direct_effect_median
    from neuron_order_medians
),

models as (
    select
        run_id,
        d_mlp
    from runs
)

select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    n_neurons,
    n_neurons / d_mlp as share_of_neurons,
    cumulative_share,
    cumulative_share_se,
    coalesce(first_ones.direct_effect_median, all_of_chosen_heads.direct_effect_median)
        as direct_effect_median,
    n_rows,
    n_clusters
from neuron_cumulative_means
left join first_ones using (run_id, ablation, layer, head, n_neurons)
left join all_of_chosen_heads using (run_id, ablation, layer, head, n_neurons)
join models using (run_id)

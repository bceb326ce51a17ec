-- One row per run, ablation and head: what the repair of the last MLP layer is the rest of.
-- Section 4.2.1 and appendix C, over the head's top rows (by direct_effect). positive_to_net is how
-- many times the neurons that repair outweigh what is left: the ratio of the means, and the median
-- of the rows' ratios, which the authors report. quietest_60_percent is the smallest share of the
-- summed |change| that six tenths of the neurons, consecutive in order of repair, have: "roughly 60
-- % of the neurons have negligible changes" (less than 0.15 for Llama-7B).
with

-- Several hundredths of a small layer may be the same number of neurons.
hundredths as (
    select
        run_id,
        unnest(range(101)) as hundredth,
        unnest(hundredths_of(d_mlp)) as n_neurons
    from runs
),

shares as (
    select
        run_id,
        ablation,
        layer,
        head,
        hundredth,
        cumulative_share
    from neuron_cumulative_means
    join hundredths using (run_id, n_neurons)
),

curves as (
    select
        here.run_id,
        here.ablation,
        here.layer,
        here.head,
        min(later.cumulative_share - here.cumulative_share) as quietest_60_percent
    from shares as here
    join shares as later
        on later.run_id = here.run_id
        and later.ablation = here.ablation
        and later.layer = here.layer
        and later.head = here.head
        and later.hundredth = here.hundredth + 60
    group by all
)

select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    net_change,
    net_change_se,
    positive_change,
    positive_change_se,
    absolute_change,
    absolute_change_se,
    positive_to_net_of_means,
    positive_to_net_median,
    quietest_60_percent,
    n_rows,
    n_clusters
from neuron_change_means
left join curves using (run_id, ablation, layer, head)

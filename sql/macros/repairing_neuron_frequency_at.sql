-- One row per run, ablation, head and neuron rank: repairing_neuron_frequency, other threshold.
-- The authors' code has 0.025 where the paper says 2 %. All rows are read anew: name the run and
-- the head where that is enough.
create macro repairing_neuron_frequency_at(threshold) as table
with

neurons as (
    select
        run_id,
        ablation,
        layer,
        head,
        cluster,
        sign(top_by_direct_effect.direct_effect) as side,
        abs(top_by_direct_effect.direct_effect) as size,
        unnest(range(1, len(neurons) + 1))::smallint as neuron_rank,
        unnest(direct_effects_ablated)::double - unnest(direct_effects) as direct_effect_change
    from neuron_repairs
    join top_by_direct_effect using (run_id, ablation, layer, head, sequence, position)
    join position_clusters using (run_id, sequence, position)
),

totals as (
    select
        run_id,
        ablation,
        layer,
        head,
        neuron_rank,
        cluster,
        tally((side * direct_effect_change > threshold * size)::integer) as share
    from neurons
    group by all
)

select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    neuron_rank,
    threshold::double as threshold,
    tally_mean(share) as share,
    tally_standard_error(share) as share_se,
    sum(share.n)::bigint as n_rows,
    count(*) as n_clusters
from totals
group by all

-- One row per run, ablation, head, neuron rank and threshold: how often the Nth neuron repairs.
-- Fig. 8 (section 4.2): x is neuron_rank, N = 1 to 50; y is share, the share of the head's top rows
-- (by direct_effect) in which its Nth most repairing neuron of the last MLP layer changes by more
-- than threshold (0.5, 0.1, 0.05, 0.02, 0.01) of the head's direct effect. The authors' code has
-- 0.025 for 0.02: repairing_neuron_frequency_at(threshold).
with

long as (
    unpivot neuron_rank_means
    on
        (repaired_above_50, repaired_above_50_se) as '0.5',
        (repaired_above_10, repaired_above_10_se) as '0.1',
        (repaired_above_5, repaired_above_5_se) as '0.05',
        (repaired_above_2, repaired_above_2_se) as '0.02',
        (repaired_above_1, repaired_above_1_se) as '0.01'
    into
        name threshold
        value share, share_se
)

select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    neuron_rank,
    threshold::double as threshold,
    share,
    share_se,
    n_rows,
    n_clusters
from long

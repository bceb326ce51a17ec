-- One row per run, ablation, head and threshold: the share of neurons that hardly change.
-- Section 4.2.1 ("roughly 60 %"): over the head's top rows (by direct_effect), the mean share of
-- the last MLP layer's neurons whose |change in direct effect| is below threshold times the head's
-- |direct effect|. The paper names no threshold; here are 0.0001, 0.001, 0.01 and 0.1.
with

long as (
    unpivot neuron_change_means
    on
        (share_below_0_0001, share_below_0_0001_se) as '0.0001',
        (share_below_0_001, share_below_0_001_se) as '0.001',
        (share_below_0_01, share_below_0_01_se) as '0.01',
        (share_below_0_1, share_below_0_1_se) as '0.1'
    into
        name threshold
        value share_negligible, share_negligible_se
)

select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    threshold::double as threshold,
    share_negligible,
    share_negligible_se,
    n_rows,
    n_clusters
from long

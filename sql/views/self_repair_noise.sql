-- One row per run, ablation, head and set of rows: how far self-repair is from a clean rule.
-- Section 2.3. The sets are 'all' and 'top_by_direct_effect'. correlation and slope are those of
-- logit_change on direct_effect. A token is overcorrected where the repair goes beyond the direct
-- effect (same sign, larger), broken where it has the other sign; both are meant for negative
-- direct effects too, whose repair is negative. self_repair_sd and the quantiles are over tokens,
-- self_repair_sequence_sd over the sequences' means ("per prompt").
with

noise as (
    select *
    from head_noise
),

means as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        n_sequences,
        direct_effect,
        logit_change,
        self_repair,
        self_repair_se,
        share_overcorrected,
        share_overcorrected_se,
        share_broken,
        share_broken_se
    from head_means
)

select
    run_id,
    ablation,
    layer,
    head,
    row_set,
    n_rows,
    n_sequences,
    correlation,
    slope,
    direct_effect,
    logit_change,
    self_repair,
    self_repair_se,
    self_repair_sd,
    self_repair_sequence_sd,
    self_repair_p05,
    self_repair_p25,
    self_repair_p50,
    self_repair_p75,
    self_repair_p95,
    share_overcorrected,
    share_overcorrected_se,
    share_broken,
    share_broken_se
from noise
join means using (run_id, ablation, layer, head, row_set)

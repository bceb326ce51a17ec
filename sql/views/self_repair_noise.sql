-- One row per run, ablation, head and set of rows: how far self-repair is from a clean rule.
-- Section 2.3. The sets are 'all' and 'top_by_direct_effect'. correlation and slope are those of
-- logit_change on direct_effect. A token is overcorrected where the repair goes beyond the direct
-- effect (same sign, larger), broken where it has the other sign; both are meant for negative
-- direct effects too, whose repair is negative. self_repair_sd and the quantiles are over tokens,
-- and are split (stored head_noise) in what differs from document to document, from sequence to
-- sequence of one document ("per prompt"), and from token to token.
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
        n_clusters,
        direct_effect,
        direct_effect_removed,
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
    head_name(layer, head) as name,
    row_set,
    n_rows,
    n_clusters,
    correlation,
    correlation_se,
    slope,
    slope_se,
    direct_effect,
    direct_effect_removed,
    logit_change,
    self_repair,
    self_repair_se,
    self_repair_sd,
    self_repair_document_sd,
    self_repair_sequence_sd,
    self_repair_token_sd,
    self_repair_p05,
    self_repair_p05_se,
    self_repair_p25,
    self_repair_p25_se,
    self_repair_p50,
    self_repair_p50_se,
    self_repair_p75,
    self_repair_p75_se,
    self_repair_p95,
    self_repair_p95_se,
    share_overcorrected,
    share_overcorrected_se,
    share_broken,
    share_broken_se
from noise
join means using (run_id, ablation, layer, head, row_set)

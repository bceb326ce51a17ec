-- One row per run, ablation, set of rows and head: can the ablation of this head be trusted?
-- Section 5.1. The sets are 'all' and 'top_by_direct_effect'. Heads rank by mean direct effect
-- (1: the largest), by ablation (1: the logit falls most), and by the ablation with the final norm
-- frozen, logit_change_frozen = logit_change - self_repair_from_layernorm; rank_difference is the
-- rank by ablation less that by direct effect: above 0 the ablation underrates the head.
-- share_hidden is how much of what the head loses in direct effect does not reach the logit: mean
-- self_repair / mean (direct_effect - direct_effect_ablated), the frozen one without the LayerNorm
-- part; null where that loss is within two standard errors of 0, which nothing can be a share of.
-- Errors are clustered by sequence. A rank's bounds count the heads that are two standard
-- errors of the difference away, as if heads were independent; ranks_differ says that the bounds by
-- direct effect and by ablation do not meet.
with

sequences as (
    select
        run_id,
        ablation,
        row_set,
        layer,
        head,
        sequence,
        n_rows,
        direct_effect.total - direct_effect_ablated.total as lost,
        self_repair.total as hidden,
        self_repair.total - self_repair_from_layernorm.total as hidden_frozen,
        struct_pack(total := lost, n := n_rows) as loss,
        struct_pack(
            total := logit_change.total - self_repair_from_layernorm.total,
            n := n_rows
        ) as frozen
    from sequence_totals
    where run_id = $run_id
),

shares as (
    select
        run_id,
        ablation,
        row_set,
        layer,
        head,
        tally_mean(frozen) as logit_change_frozen,
        tally_standard_error(frozen) as logit_change_frozen_se,
        case
            when abs(tally_mean(loss)) <= 2 * tally_standard_error(loss) then null
            else nullif(sum(lost), 0)
        end as lost_in_all,
        sum(hidden) / lost_in_all as share_hidden,
        sqrt(
            count(*) / nullif(count(*) - 1, 0) * count(*)
            * greatest(
                0,
                var_pop(hidden) - 2 * share_hidden * covar_pop(hidden, lost)
                + share_hidden ** 2 * var_pop(lost)
            )
        ) / abs(lost_in_all) as share_hidden_se,
        sum(hidden_frozen) / lost_in_all as share_hidden_frozen,
        sqrt(
            count(*) / nullif(count(*) - 1, 0) * count(*)
            * greatest(
                0,
                var_pop(hidden_frozen) - 2 * share_hidden_frozen * covar_pop(hidden_frozen, lost)
                + share_hidden_frozen ** 2 * var_pop(lost)
            )
        ) / abs(lost_in_all) as share_hidden_frozen_se
    from sequences
    group by
        run_id,
        ablation,
        row_set,
        layer,
        head
),

heads as (
    select
        run_id,
        ablation,
        row_set,
        layer,
        head,
        n_rows,
        n_sequences,
        direct_effect,
        direct_effect_se,
        logit_change,
        logit_change_se,
        shares.* exclude (run_id, ablation, row_set, layer, head)
    from head_means
    join shares using (run_id, ablation, row_set, layer, head)
    where run_id = $run_id
),

-- Of each head, how many heads are surely above it and how many surely below.
bounds as (
    select
        here.run_id,
        here.ablation,
        here.row_set,
        here.layer,
        here.head,
        1 + count_if(
            other.direct_effect - here.direct_effect
            > 2 * sqrt(other.direct_effect_se ** 2 + here.direct_effect_se ** 2)
        ) as rank_by_direct_effect_low,
        count(*) - count_if(
            here.direct_effect - other.direct_effect
            > 2 * sqrt(other.direct_effect_se ** 2 + here.direct_effect_se ** 2)
        ) as rank_by_direct_effect_high,
        1 + count_if(
            here.logit_change - other.logit_change
            > 2 * sqrt(other.logit_change_se ** 2 + here.logit_change_se ** 2)
        ) as rank_by_ablation_low,
        count(*) - count_if(
            other.logit_change - here.logit_change
            > 2 * sqrt(other.logit_change_se ** 2 + here.logit_change_se ** 2)
        ) as rank_by_ablation_high
    from heads as here
    join heads as other using (run_id, ablation, row_set)
    group by
        here.run_id,
        here.ablation,
        here.row_set,
        here.layer,
        here.head
),

ranked as (
    select
        *,
        rank() over (
            partition by
                run_id,
                ablation,
                row_set
            order by direct_effect desc
        ) as rank_by_direct_effect,
        rank() over (
            partition by
                run_id,
                ablation,
                row_set
            order by logit_change
        ) as rank_by_ablation,
        rank() over (
            partition by
                run_id,
                ablation,
                row_set
            order by logit_change_frozen
        ) as rank_by_ablation_frozen
    from heads
)

select
    run_id,
    ablation,
    row_set,
    layer,
    head,
    n_rows,
    n_sequences,
    direct_effect,
    direct_effect_se,
    logit_change,
    logit_change_se,
    logit_change_frozen,
    logit_change_frozen_se,
    rank_by_direct_effect,
    rank_by_direct_effect_low,
    rank_by_direct_effect_high,
    rank_by_ablation,
    rank_by_ablation_low,
    rank_by_ablation_high,
    rank_by_ablation_frozen,
    rank_by_ablation - rank_by_direct_effect as rank_difference,
    rank_by_ablation_frozen - rank_by_direct_effect as rank_difference_frozen,
    rank_by_ablation_low > rank_by_direct_effect_high
    or rank_by_ablation_high < rank_by_direct_effect_low as ranks_differ,
    share_hidden,
    share_hidden_se,
    share_hidden_frozen,
    share_hidden_frozen_se
from ranked
join bounds using (run_id, ablation, row_set, layer, head)
order by
    run_id,
    ablation,
    row_set,
    layer,
    head

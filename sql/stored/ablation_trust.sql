-- One row per run, ablation, set of rows and head: can the ablation of this head be trusted?
-- Section 5.1. The sets are 'all' and 'top_by_direct_effect'. Heads rank by mean direct effect
-- (1: the largest), by ablation (1: the logit falls most), and by the ablation with the final norm
-- frozen, logit_change_frozen = logit_change - self_repair_from_layernorm; rank_difference is the
-- rank by ablation less that by direct effect: above 0 the ablation underrates the head.
-- share_hidden is how much of what was removed does not reach the logit: mean self_repair / mean
-- direct_effect_removed, the frozen one without the LayerNorm part; null where what was removed may
-- be nothing. A rank's bounds hold 95 % of its draws (head_ranks); ranks_differ says that the two
-- ranks differ by more than other text explains (Student's t, corrected for the number of heads, at
-- 5 %), and misplaced why:
--     not removed   the ablation leaves more than half of the direct effect in place
--     repaired      it removes more, and what is downstream makes up for it
--     indirect      the logit changes by more than the head's direct effect does
-- Below ten clusters the labels are null.
with

influences as (
    select *
    from head_influences
    where run_id = $run_id
),

means as (
    select *
    from head_means
    where run_id = $run_id
),

frozen as (
    select
        run_id,
        ablation,
        row_set,
        layer,
        head,
        standard_error(one.logit_change - one.self_repair_from_layernorm)
            as logit_change_frozen_se,
        any_value(
            (means.self_repair - means.self_repair_from_layernorm)
            / nullif(means.direct_effect_removed, 0)
        ) as share_hidden_frozen,
        ratio_error(
            one.self_repair - one.self_repair_from_layernorm,
            one.direct_effect_removed,
            means.self_repair - means.self_repair_from_layernorm,
            means.direct_effect_removed
        ) as share_hidden_frozen_se
    from influences as one
    join means using (run_id, ablation, row_set, layer, head)
    group by all
),

ranks as (
    select * exclude (family, p_value)
    from adjusted_p('head_ranks')
    where run_id = $run_id
),

ranked as (
    select
        *,
        rank() over (
            partition by
                run_id,
                ablation,
                row_set
            order by logit_change - self_repair_from_layernorm
        ) as rank_by_ablation_frozen
    from means
    join ranks using (run_id, ablation, row_set, layer, head)
    left join frozen using (run_id, ablation, row_set, layer, head)
)

select
    run_id,
    ablation,
    row_set,
    layer,
    head,
    n_rows,
    n_clusters,
    direct_effect,
    direct_effect_se,
    direct_effect_removed,
    direct_effect_removed_se,
    share_removed,
    share_removed_se,
    logit_change,
    logit_change_se,
    logit_change - self_repair_from_layernorm as logit_change_frozen,
    logit_change_frozen_se,
    rank_by_direct_effect,
    rank_by_direct_effect_low,
    rank_by_direct_effect_high,
    rank_by_ablation,
    rank_by_ablation_low,
    rank_by_ablation_high,
    rank_by_ablation_frozen,
    rank_difference,
    rank_difference_se,
    rank_by_ablation_frozen - rank_by_direct_effect as rank_difference_frozen,
    adjusted_p < 0.05 as ranks_differ,
    case
        when ranks_differ is not true then null
        when rank_difference < 0 then 'indirect'
        when coalesce(share_removed, 0) < 0.5 then 'not removed'
        else 'repaired'
    end as misplaced,
    share_hidden,
    share_hidden_se,
    case
        when share_hidden is not null
            then share_hidden_frozen
    end as share_hidden_frozen,
    case
        when share_hidden is not null
            then share_hidden_frozen_se
    end as share_hidden_frozen_se
from ranked
order by
    run_id,
    ablation,
    row_set,
    layer,
    head

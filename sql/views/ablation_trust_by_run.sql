-- One row per run, ablation and set of rows: how far ablation and direct effect agree on the heads.
-- Section 5.1: rank_correlation is Spearman's, of the heads' ranks by direct effect and by ablation
-- (1: they agree), frozen with the final norm held; mean_rank_difference is of its absolute value.
-- share_ranks_differ is the share of heads of which text alone does not explain the difference; the
-- three counts say why (ablation_trust). The medians are over n_heads_with_share heads, those of
-- which the ablation surely removes something.
select
    run_id,
    ablation,
    row_set,
    count(*) as n_heads,
    case
        when count(*) > 2
            then corr(rank_by_direct_effect, rank_by_ablation)
    end as rank_correlation,
    case
        when count(*) > 2
            then corr(rank_by_direct_effect, rank_by_ablation_frozen)
    end as rank_correlation_frozen,
    avg(abs(rank_difference)) as mean_rank_difference,
    avg(abs(rank_difference_frozen)) as mean_rank_difference_frozen,
    avg(ranks_differ::integer) as share_ranks_differ,
    count(ranks_differ) as n_heads_ranked,
    case
        when count(ranks_differ) > 0
            then count(*) filter (where misplaced = 'not removed')
    end as n_not_removed,
    case
        when count(ranks_differ) > 0
            then count(*) filter (where misplaced = 'repaired')
    end as n_repaired,
    case
        when count(ranks_differ) > 0
            then count(*) filter (where misplaced = 'indirect')
    end as n_indirect,
    count(share_hidden) as n_heads_with_share,
    median(share_hidden) as share_hidden_median,
    median(share_hidden_frozen) as share_hidden_frozen_median
from ablation_trust
group by all

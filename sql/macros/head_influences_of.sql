-- One row per run, ablation, head, set of rows and cluster: how the cluster moves every mean.
-- `totals` names cluster_totals, `counts` of every cluster the rows n_all that there are to choose
-- from, and `cuts` the cut_means; influence has the formula. The sum of squares over clusters is a
-- mean's variance, that of differences the variance of a difference of means, and so on: whatever
-- follows from means gets its error from here. Rows of one cluster alone have none.
-- The quantities are named one by one, as nowhere else: DuckDB's columns(quantities()) pairs no
-- columns of three relations, and a window in the place of the joins takes two and a half times as
-- long. Whoever reads columns(quantities()) of it is refused where one is missing.
create macro head_influences_of(totals, counts, cuts) as table
with

heads as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        tally_sum(columns(quantities())) as "\0_of_head"
    from query_table(totals)
    group by all
    having count(*) > 1
),

every_cluster as (
    select
        run_id,
        ablation,
        layer,
        head,
        cluster,
        n_all,
        sum(n_all) over (
            partition by
                run_id,
                ablation,
                layer,
                head
        ) as n_all_of_head
    from query_table(counts)
)

select
    run_id,
    ablation,
    layer,
    head,
    row_set,
    cluster,
    influence(
        totals.direct_effect, direct_effect_of_head,
        cut.direct_effect, n_all, n_all_of_head
    ) as direct_effect,
    influence(
        totals.direct_effect_ablated, direct_effect_ablated_of_head,
        cut.direct_effect_ablated, n_all, n_all_of_head
    ) as direct_effect_ablated,
    influence(
        totals.direct_effect_removed, direct_effect_removed_of_head,
        cut.direct_effect_removed, n_all, n_all_of_head
    ) as direct_effect_removed,
    influence(
        totals.logit_change, logit_change_of_head,
        cut.logit_change, n_all, n_all_of_head
    ) as logit_change,
    influence(
        totals.self_repair, self_repair_of_head,
        cut.self_repair, n_all, n_all_of_head
    ) as self_repair,
    influence(
        totals.self_repair_from_heads, self_repair_from_heads_of_head,
        cut.self_repair_from_heads, n_all, n_all_of_head
    ) as self_repair_from_heads,
    influence(
        totals.self_repair_from_mlps, self_repair_from_mlps_of_head,
        cut.self_repair_from_mlps, n_all, n_all_of_head
    ) as self_repair_from_mlps,
    influence(
        totals.self_repair_from_last_mlp, self_repair_from_last_mlp_of_head,
        cut.self_repair_from_last_mlp, n_all, n_all_of_head
    ) as self_repair_from_last_mlp,
    influence(
        totals.self_repair_from_post_norm, self_repair_from_post_norm_of_head,
        cut.self_repair_from_post_norm, n_all, n_all_of_head
    ) as self_repair_from_post_norm,
    influence(
        totals.self_repair_from_layernorm, self_repair_from_layernorm_of_head,
        cut.self_repair_from_layernorm, n_all, n_all_of_head
    ) as self_repair_from_layernorm,
    influence(
        totals.layernorm_ratio, layernorm_ratio_of_head,
        cut.layernorm_ratio, n_all, n_all_of_head
    ) as layernorm_ratio,
    influence(
        totals.share_layernorm_ratio_above_one, share_layernorm_ratio_above_one_of_head,
        cut.share_layernorm_ratio_above_one, n_all, n_all_of_head
    ) as share_layernorm_ratio_above_one,
    influence(
        totals.share_overcorrected, share_overcorrected_of_head,
        cut.share_overcorrected, n_all, n_all_of_head
    ) as share_overcorrected,
    influence(
        totals.share_broken, share_broken_of_head,
        cut.share_broken, n_all, n_all_of_head
    ) as share_broken,
    influence(
        totals.layernorm_fraction_clipped, layernorm_fraction_clipped_of_head,
        cut.layernorm_fraction_clipped, n_all, n_all_of_head
    ) as layernorm_fraction_clipped,
    influence(
        totals.heads_fraction_clipped, heads_fraction_clipped_of_head,
        cut.heads_fraction_clipped, n_all, n_all_of_head
    ) as heads_fraction_clipped,
    influence(
        totals.mlps_fraction_clipped, mlps_fraction_clipped_of_head,
        cut.mlps_fraction_clipped, n_all, n_all_of_head
    ) as mlps_fraction_clipped,
    influence(
        totals.layernorm_fraction_unclipped, layernorm_fraction_unclipped_of_head,
        cut.layernorm_fraction_unclipped, n_all, n_all_of_head
    ) as layernorm_fraction_unclipped,
    influence(
        totals.heads_fraction_unclipped, heads_fraction_unclipped_of_head,
        cut.heads_fraction_unclipped, n_all, n_all_of_head
    ) as heads_fraction_unclipped,
    influence(
        totals.mlps_fraction_unclipped, mlps_fraction_unclipped_of_head,
        cut.mlps_fraction_unclipped, n_all, n_all_of_head
    ) as mlps_fraction_unclipped
from heads
join every_cluster using (run_id, ablation, layer, head)
left join query_table(totals) as totals
    using (run_id, ablation, layer, head, row_set, cluster)
left join query_table(cuts) as cut using (run_id, ablation, layer, head, row_set)

-- One row per run, ablation, head and set of rows: the mean of every quantity, and ratios of means.
-- `totals` names cluster_totals, `influences` the head_influences over them. share_hidden is null
-- where what was removed may be nothing (Student's t, 95 %), of which nothing can be a share.
create macro head_means_of(totals, influences) as table
with

means as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        sum(n_rows)::bigint as n_rows,
        count(*) as n_with_rows,
        tally_mean(columns(quantities())) as "\0"
    from query_table(totals)
    group by all
),

errors as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        count(*) as n_clusters,
        standard_error(columns(quantities())) as "\0_se"
    from query_table(influences)
    group by all
),

ratios as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        any_value(means.direct_effect_removed / nullif(means.direct_effect, 0))
            as share_removed,
        any_value(means.self_repair / nullif(means.direct_effect_removed, 0))
            as share_hidden,
        any_value(means.self_repair_from_layernorm / nullif(means.direct_effect, 0))
            as layernorm_fraction_of_means,
        any_value(means.self_repair_from_heads / nullif(means.direct_effect, 0))
            as heads_fraction_of_means,
        any_value(means.self_repair_from_mlps / nullif(means.direct_effect, 0))
            as mlps_fraction_of_means,
        ratio_error(
            one.direct_effect_removed, one.direct_effect,
            means.direct_effect_removed, means.direct_effect
        ) as share_removed_se,
        ratio_error(
            one.self_repair, one.direct_effect_removed,
            means.self_repair, means.direct_effect_removed
        ) as share_hidden_se,
        ratio_error(
            one.self_repair_from_layernorm, one.direct_effect,
            means.self_repair_from_layernorm, means.direct_effect
        ) as layernorm_fraction_of_means_se,
        ratio_error(
            one.self_repair_from_heads, one.direct_effect,
            means.self_repair_from_heads, means.direct_effect
        ) as heads_fraction_of_means_se,
        ratio_error(
            one.self_repair_from_mlps, one.direct_effect,
            means.self_repair_from_mlps, means.direct_effect
        ) as mlps_fraction_of_means_se
    from query_table(influences) as one
    join means using (run_id, ablation, layer, head, row_set)
    group by all
)

select
    run_id,
    ablation,
    layer,
    head,
    row_set,
    n_rows,
    coalesce(n_clusters, n_with_rows) as n_clusters,
    means.* exclude (run_id, ablation, layer, head, row_set, n_rows, n_with_rows),
    errors.* exclude (run_id, ablation, layer, head, row_set, n_clusters),
    ratios.* exclude (run_id, ablation, layer, head, row_set, share_hidden, share_hidden_se),
    case
        when student_p(direct_effect_removed, direct_effect_removed_se, n_clusters) < 0.05
            then share_hidden
    end as share_hidden,
    case
        when student_p(direct_effect_removed, direct_effect_removed_se, n_clusters) < 0.05
            then share_hidden_se
    end as share_hidden_se
from means
left join errors using (run_id, ablation, layer, head, row_set)
left join ratios using (run_id, ablation, layer, head, row_set)

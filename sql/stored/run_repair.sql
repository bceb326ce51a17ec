-- One row per run, ablation and set of rows: how much of what is removed is repaired, and by what.
-- Ratios of sums over the heads that do something: those whose direct effect can be told from 0
-- and of which the ablation removes at least half (head_kinds), n_heads_counted of n_heads. What
-- was removed from all of them is the whole: share_repaired is repaired, of which
-- share_from_layernorm, share_from_post_norm, share_from_heads and share_from_mlps are parts; they
-- may be negative. Errors are by cluster.
-- Below ten clusters no head is labelled and all shares are null. The paper's number, clipped to
-- [0, 1] token by token and averaged, is layernorm_fraction_clipped: noise alone makes it large.
with

counted as (
    select
        run_id,
        ablation,
        row_set,
        layer,
        head
    from head_kinds
    where run_id = $run_id
        and kind in ('repaired', 'overcorrected', 'broken', 'neither')
),

sizes as (
    select
        run_id,
        ablation,
        row_set,
        count(*) as n_heads,
        any_value(n_clusters) as n_clusters,
        count_if(kind = 'no effect') as n_no_effect,
        count_if(kind = 'not removed') as n_not_removed,
        count_if(kind = 'repaired') as n_repaired,
        count_if(kind = 'overcorrected') as n_overcorrected,
        count_if(kind = 'broken') as n_broken,
        count_if(kind = 'neither') as n_neither
    from head_kinds
    where run_id = $run_id
    group by all
),

means as (
    select
        run_id,
        ablation,
        row_set,
        count(*) as n_heads_counted,
        sum(columns([
            'direct_effect_removed',
            'self_repair',
            'self_repair_from_heads',
            'self_repair_from_mlps',
            'self_repair_from_post_norm',
            'self_repair_from_layernorm'
        ])) as "\0",
        avg(layernorm_fraction_clipped) as layernorm_fraction_clipped
    from head_means
    join counted using (run_id, ablation, row_set, layer, head)
    group by all
),

influences as (
    select
        run_id,
        ablation,
        row_set,
        cluster,
        sum(columns([
            'direct_effect_removed',
            'self_repair',
            'self_repair_from_heads',
            'self_repair_from_mlps',
            'self_repair_from_post_norm',
            'self_repair_from_layernorm'
        ])) as "\0"
    from head_influences
    join counted using (run_id, ablation, row_set, layer, head)
    where run_id = $run_id
    group by all
),

errors as (
    select
        run_id,
        ablation,
        row_set,
        ratio_error(
            one.self_repair, one.direct_effect_removed,
            means.self_repair, means.direct_effect_removed
        ) as share_repaired_se,
        ratio_error(
            one.self_repair_from_heads, one.direct_effect_removed,
            means.self_repair_from_heads, means.direct_effect_removed
        ) as share_from_heads_se,
        ratio_error(
            one.self_repair_from_mlps, one.direct_effect_removed,
            means.self_repair_from_mlps, means.direct_effect_removed
        ) as share_from_mlps_se,
        ratio_error(
            one.self_repair_from_post_norm, one.direct_effect_removed,
            means.self_repair_from_post_norm, means.direct_effect_removed
        ) as share_from_post_norm_se,
        ratio_error(
            one.self_repair_from_layernorm, one.direct_effect_removed,
            means.self_repair_from_layernorm, means.direct_effect_removed
        ) as share_from_layernorm_se
    from influences as one
    join means using (run_id, ablation, row_set)
    group by all
)

select
    sizes.*,
    coalesce(n_heads_counted, 0) as n_heads_counted,
    self_repair / nullif(direct_effect_removed, 0) as share_repaired,
    share_repaired_se,
    self_repair_from_heads / nullif(direct_effect_removed, 0) as share_from_heads,
    share_from_heads_se,
    self_repair_from_mlps / nullif(direct_effect_removed, 0) as share_from_mlps,
    share_from_mlps_se,
    self_repair_from_post_norm / nullif(direct_effect_removed, 0) as share_from_post_norm,
    share_from_post_norm_se,
    self_repair_from_layernorm / nullif(direct_effect_removed, 0) as share_from_layernorm,
    share_from_layernorm_se,
    layernorm_fraction_clipped
from sizes
left join means using (run_id, ablation, row_set)
left join errors using (run_id, ablation, row_set)

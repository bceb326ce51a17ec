-- One row per quantity: its mean over two heads' rows, and the difference with its error.
-- `one` and `other` are structs of run_id, ablation, layer, head and row_set ('all' or
-- 'top_by_direct_effect'): two heads, runs, ablations or sets of rows. The difference is the
-- other's less the one's. Where the text is the same (same_text) it is paired: the error is of the
-- clusters' differences of influences (head_influences), so that what a text does to both counts
-- once. Else the two are independent, and the squares of their errors are added.
create macro heads_compared(one, other) as table
with

means as (
    select
        struct_pack(run_id, ablation, layer, head, row_set) = one as is_one,
        struct_pack(run_id, ablation, layer, head, row_set) = other as is_other,
        quantity,
        mean
    from head_means
    unpivot include nulls (mean for quantity in (columns(quantities())))
    where run_id in ((one).run_id, (other).run_id)
        and layer in ((one).layer, (other).layer)
        and head in ((one).head, (other).head)
),

influences as (
    select
        struct_pack(run_id, ablation, layer, head, row_set) = one as is_one,
        struct_pack(run_id, ablation, layer, head, row_set) = other as is_other,
        cluster,
        quantity,
        influence
    from head_influences
    unpivot include nulls (influence for quantity in (columns(quantities())))
    where run_id in ((one).run_id, (other).run_id)
        and layer in ((one).layer, (other).layer)
        and head in ((one).head, (other).head)
),

clusters as (
    select
        quantity,
        cluster,
        any_value(influence) filter (where is_one) as of_one,
        any_value(influence) filter (where is_other) as of_other
    from influences
    where is_one or is_other
    group by all
),

errors as (
    select
        quantity,
        standard_error(of_one) as one_se,
        standard_error(of_other) as other_se,
        standard_error(of_other - of_one) as paired_se,
        count(of_other - of_one) as n_clusters
    from clusters
    group by all
),

values_of as (
    select
        quantity,
        any_value(mean) filter (where is_one) as one_mean,
        any_value(mean) filter (where is_other) as other_mean
    from means
    where is_one or is_other
    group by all
),

texts as (
    select same_text((one).run_id, (other).run_id) as is_paired
)

select
    quantity,
    one_mean,
    one_se,
    other_mean,
    other_se,
    other_mean - one_mean as difference,
    if(is_paired, paired_se, sqrt(one_se ** 2 + other_se ** 2)) as difference_se,
    is_paired,
    if(is_paired, n_clusters, null) as n_clusters_paired
from values_of
cross join texts
left join errors using (quantity)
order by list_position(quantities(), quantity)

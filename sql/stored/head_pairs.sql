-- One row per run, ablation, set of rows, quantity and pair of heads: is one surely the larger?
-- The quantities are direct_effect and logit_change. Both heads are measured on the same text, so
-- that their difference (the first head's mean less the other's) has an error of its own, from the
-- difference of their influences; more than 64 clusters are taken together in 64 groups.
-- adjusted_p is Student's t, corrected for the number of pairs; null below ten clusters.
with

groups as (
    select
        *,
        (dense_rank() over (
            partition by run_id
            order by cluster
        ) - 1) % 64 as group_number
    from head_influences
    where run_id = $run_id
),

-- Every head has every group, so that their lists are alike.
every_group as (
    select distinct
        one.run_id,
        one.ablation,
        one.row_set,
        one.layer,
        one.head,
        other.group_number
    from groups as one
    join (select distinct run_id, group_number from groups) as other using (run_id)
),

summed as (
    select
        run_id,
        ablation,
        row_set,
        layer,
        head,
        group_number,
        coalesce(sum(direct_effect), 0) as direct_effect,
        coalesce(sum(logit_change), 0) as logit_change
    from every_group
    left join groups using (run_id, ablation, row_set, layer, head, group_number)
    group by all
),

influences as (
    unpivot summed
    on direct_effect, logit_change
    into
        name quantity
        value influence
),

means as (
    unpivot (
        select
            run_id,
            ablation,
            row_set,
            layer,
            head,
            direct_effect,
            logit_change
        from head_means
        where run_id = $run_id
    )
    on direct_effect, logit_change
    into
        name quantity
        value mean
),

heads as (
    select
        run_id,
        ablation,
        row_set,
        quantity,
        layer,
        head,
        list(influence order by group_number) as influences,
        any_value(mean) as mean
    from influences
    join means using (run_id, ablation, row_set, quantity, layer, head)
    group by all
),

pairs as (
    select
        here.run_id,
        here.ablation,
        here.row_set,
        here.quantity,
        here.layer,
        here.head,
        other.layer as other_layer,
        other.head as other_head,
        here.mean - other.mean as difference,
        len(here.influences) as n,
        sqrt(n / nullif(n - 1, 0)) * list_distance(here.influences, other.influences)
            as difference_se,
        case
            when n >= 10
                then student_p(difference, difference_se, n)
        end as p_value,
        concat_ws(' ', here.run_id, here.ablation, here.row_set, here.quantity) as family
    from heads as here
    join heads as other using (run_id, ablation, row_set, quantity)
    where (here.layer, here.head) < (other.layer, other.head)
)

select * exclude (family, n, p_value)
from adjusted_p('pairs')

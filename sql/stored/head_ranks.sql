-- One row per run, ablation, set of rows and head: its ranks among the heads, and their bounds.
-- Heads rank by mean direct effect (1: the largest) and by ablation (1: the logit falls most). A
-- rank has no influence of its own, so that its error is a bootstrap's: clusters are drawn 400
-- times with replacement, every head's mean moves by its influences (head_influences), and the
-- heads are ranked anew. The bounds hold 95 % of a rank's draws; rank_difference_se is over draws
-- of the difference. The draws are the same every time (md5 of their number); more than 64
-- clusters are taken together in 64 groups.
with

groups as (
    select
        run_id,
        ablation,
        row_set,
        layer,
        head,
        (dense_rank() over (
            partition by run_id
            order by cluster
        ) - 1) % 64 as group_number,
        direct_effect,
        logit_change
    from head_influences
    where run_id = $run_id
),

sizes as (
    select max(group_number) + 1 as n
    from groups
),

-- Every head has every group, so that their lists are alike.
every_group as (
    select
        heads.*,
        group_number
    from (
        select distinct
            run_id,
            ablation,
            row_set,
            layer,
            head
        from groups
    ) as heads, (
        select unnest(range(n)) as group_number
        from sizes
    ) as numbers
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

heads as (
    select
        run_id,
        ablation,
        row_set,
        layer,
        head,
        list(summed.direct_effect order by group_number) as effect_influences,
        list(summed.logit_change order by group_number) as change_influences,
        any_value(means.direct_effect) as direct_effect,
        any_value(means.logit_change) as logit_change
    from summed
    join head_means as means using (run_id, ablation, row_set, layer, head)
    group by all
),

-- How often each group is drawn, less once; sqrt(n / (n - 1)) makes the spread that of the errors.
drawn as (
    select
        draw,
        md5_number_lower(draw || ' ' || slot) % n as group_number,
        n
    from sizes, range(400) as draws(draw), range(64) as slots(slot)
    where slot < n
),

weights as (
    select
        draw,
        list((times - 1) * sqrt(n / nullif(n - 1, 0)) order by group_number) as weights
    from (
        select
            draws.draw,
            numbers.group_number,
            any_value(sizes.n) as n,
            count(drawn.draw) as times
        from sizes, range(400) as draws(draw), range(64) as numbers(group_number)
        left join drawn
            on drawn.draw = draws.draw
            and drawn.group_number = numbers.group_number
        where numbers.group_number < sizes.n
        group by all
    )
    group by all
),

moved as (
    select
        run_id,
        ablation,
        row_set,
        layer,
        head,
        draw,
        direct_effect + list_dot_product(effect_influences, weights) as direct_effect,
        logit_change + list_dot_product(change_influences, weights) as logit_change
    from heads, weights
),

ranks as (
    select
        run_id,
        ablation,
        row_set,
        layer,
        head,
        rank() over (
            partition by
                run_id,
                ablation,
                row_set,
                draw
            order by direct_effect desc
        ) as by_effect,
        rank() over (
            partition by
                run_id,
                ablation,
                row_set,
                draw
            order by logit_change
        ) as by_change
    from moved
),

spreads as (
    select
        run_id,
        ablation,
        row_set,
        layer,
        head,
        quantile_disc(by_effect, [0.025, 0.975]) as effect_bounds,
        quantile_disc(by_change, [0.025, 0.975]) as change_bounds,
        stddev_samp(by_change - by_effect) as rank_difference_se
    from ranks
    group by all
),

places as (
    select
        run_id,
        ablation,
        row_set,
        layer,
        head,
        n_clusters,
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
        ) as rank_by_ablation
    from head_means
    where run_id = $run_id
)

select
    run_id,
    ablation,
    row_set,
    layer,
    head,
    rank_by_direct_effect,
    if(n_clusters < 10, null, effect_bounds[1]) as rank_by_direct_effect_low,
    if(n_clusters < 10, null, effect_bounds[2]) as rank_by_direct_effect_high,
    rank_by_ablation,
    if(n_clusters < 10, null, change_bounds[1]) as rank_by_ablation_low,
    if(n_clusters < 10, null, change_bounds[2]) as rank_by_ablation_high,
    rank_by_ablation - rank_by_direct_effect as rank_difference,
    rank_difference_se,
    concat_ws(' ', run_id, ablation, row_set) as family,
    if(n_clusters < 10, null, student_p(rank_difference, rank_difference_se, n_clusters))
        as p_value
from places
left join spreads using (run_id, ablation, row_set, layer, head)

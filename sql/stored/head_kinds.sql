-- One row per run, ablation, set of rows and head: what becomes of what its ablation removes.
-- kind, of the means over the rows ('all' or 'top_by_direct_effect'):
--     no effect      the head has no direct effect that can be told from 0
--     not removed    the ablation removes less than half of it (share_removed), so that a small
--                    logit change shows no repair
--     repaired       self-repair has the sign of what was removed: the logit loses less
--     overcorrected  it goes beyond that: the logit changes the other way
--     broken         it has the other sign: the logit loses more
--     neither        self-repair cannot be told from 0
-- "Can be told from 0" is Student's t over clusters, corrected for the number of heads
-- (adjusted_p) at 5 %; below ten clusters kind is null.
with

tests as (
    unpivot (
        select
            run_id,
            ablation,
            row_set,
            layer,
            head,
            student_p(direct_effect, direct_effect_se, n_clusters) as direct_effect,
            student_p(self_repair, self_repair_se, n_clusters) as self_repair,
            student_p(logit_change, logit_change_se, n_clusters) as logit_change
        from head_means
        where run_id = $run_id
            and n_clusters >= 10
    )
    on direct_effect, self_repair, logit_change
    into
        name quantity
        value p_value
),

families as (
    select
        *,
        concat_ws(' ', run_id, ablation, row_set, quantity) as family
    from tests
),

told as (
    select
        run_id,
        ablation,
        row_set,
        layer,
        head,
        any_value(adjusted_p) filter (where quantity = 'direct_effect') as direct_effect_p,
        any_value(adjusted_p) filter (where quantity = 'self_repair') as self_repair_p,
        any_value(adjusted_p) filter (where quantity = 'logit_change') as logit_change_p
    from adjusted_p('families')
    group by all
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
    logit_change,
    logit_change_se,
    self_repair,
    self_repair_se,
    share_removed,
    share_removed_se,
    share_hidden,
    share_hidden_se,
    case
        when n_clusters < 10 then null
        when not coalesce(direct_effect_p < 0.05, false) then 'no effect'
        when share_removed < 0.5 then 'not removed'
        when not coalesce(self_repair_p < 0.05, false) then 'neither'
        when self_repair * direct_effect_removed < 0 then 'broken'
        when logit_change * direct_effect_removed > 0 and logit_change_p < 0.05
            then 'overcorrected'
        else 'repaired'
    end as kind,
    direct_effect_p,
    self_repair_p,
    logit_change_p
from head_means
left join told using (run_id, ablation, row_set, layer, head)
where run_id = $run_id
order by
    run_id,
    ablation,
    row_set,
    layer,
    head

-- One row per run, head and scale: how the head answers to its own output, scale times added.
-- Over all positions that were measured (section 5.3, appendix E). direct_effect_change is after
-- minus before; gain is the same with the sign of the clean direct effect: above 0 the head does
-- more of what it did. Errors are by cluster (reinforcement_clusters).
with

changes as (
    select
        run_id,
        layer,
        head,
        scale,
        cluster,
        direct_effect::double as direct_effect,
        direct_effect_after::double as direct_effect_after,
        direct_effect_after::double - direct_effect as direct_effect_change,
        sign(direct_effect) * (direct_effect_after::double - direct_effect) as gain
    from self_reinforcement
    join reinforcement_clusters using (run_id, sequence, position)
    where run_id = $run_id
        and layer between $first_layer and $last_layer
),

totals as (
    select
        run_id,
        layer,
        head,
        scale,
        cluster,
        count(*) as n,
        tally(columns([
            'direct_effect',
            'direct_effect_after',
            'direct_effect_change',
            'gain'
        ])) as "\0",
        tally((gain > 0)::integer) as share_reinforced,
        tally((gain < 0)::integer) as share_repressed
    from changes
    group by all
)

select
    run_id,
    layer,
    head,
    scale,
    sum(n)::bigint as n_rows,
    count(*) as n_clusters,
    tally_mean(columns(* exclude (run_id, layer, head, scale, cluster, n))) as "\0",
    tally_standard_error(columns(* exclude (run_id, layer, head, scale, cluster, n))) as "\0_se"
from totals
group by all
order by
    run_id,
    layer,
    head,
    scale

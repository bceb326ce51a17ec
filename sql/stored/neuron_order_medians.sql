-- One row per run, ablation, chosen head and place in order of repair: its median direct effect.
-- The clean direct effect of the neuron that is number n_neurons in order of repair, which is
-- another one from row to row, as the authors colour Fig. 12-15. The places are every hundredth and
-- the first and last 50. Of the head's top rows (by direct_effect) some 2,000 at most, by
-- md5('sequence:position'): sorting all neurons takes long.
with

sides as (
    select
        run_id,
        ablation,
        layer,
        head,
        sequence,
        position,
        sign(direct_effect) as side
    from top_by_direct_effect
    where run_id = $run_id
        and layer between $first_layer and $last_layer
),

ordered as (
    select
        run_id,
        ablation,
        layer,
        head,
        sequence,
        position,
        len(direct_effects) as d_mlp,
        list_transform(
            list_grade_up(
                list_transform(
                    list_zip(direct_effects, direct_effects_ablated),
                    lambda pair: pair[1]::double - pair[2]
                )
            ),
            lambda neuron: direct_effects[neuron]
        ) as effects -- of the neuron whose change is the largest first
    from neuron_changes
    where run_id = $run_id
        and layer between $first_layer and $last_layer
        and ranking = 'direct_effect'
        and len(direct_effects) > 0
        and md5_number_lower(concat(sequence, ':', position)) / 2.0 ** 64
        < 2000 / ($n_tokens * $top_fraction)
),

placed as (
    select
        * exclude (effects),
        list_filter(
            list_sort(list_distinct(
                cumulative_share_counts(d_mlp, 0) || range(1, least(50, d_mlp) + 1)
            )),
            lambda n: n > 0
        ) as places,
        list_transform(places, lambda place: effects[place]) as falling,
        list_transform(places, lambda place: effects[d_mlp + 1 - place]) as rising
    from ordered
),

-- The side is looked up for the places: joined before, all the neurons would be in memory.
listed as (
    select
        run_id,
        ablation,
        layer,
        head,
        unnest(places) as n_neurons,
        unnest(if(side < 0, rising, falling)) as direct_effect
    from placed
    join sides using (run_id, ablation, layer, head, sequence, position)
)

select
    run_id,
    ablation,
    layer,
    head,
    n_neurons::integer as n_neurons,
    count(*) as n_rows,
    median(direct_effect) as direct_effect_median
from listed
group by all
order by all

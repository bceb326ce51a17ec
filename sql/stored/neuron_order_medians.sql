-- One row per run, ablation, chosen head and hundredth of the neurons: its median direct effect.
-- The clean direct effect of the neuron that is number n_neurons in order of repair, which is
-- another one from row to row, as the authors colour Fig. 12-15. Of the head's top rows (by
-- direct_effect) at most 2,000, by md5('sequence:position'): sorting all neurons takes long.
-- per: layer
with

kept as (
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
        and layer = $layer
    qualify row_number() over (
        partition by
            ablation,
            head
        order by
            md5(concat(sequence, ':', position)),
            sequence,
            position
    ) <= 2000
),

rows_of_neurons as (
    select
        run_id,
        ablation,
        layer,
        head,
        direct_effects,
        len(direct_effects) as d_mlp,
        list_grade_up(
            list_transform(
                list_zip(direct_effects, direct_effects_ablated),
                lambda pair: side * (pair[1]::double - pair[2])
            )
        ) as repair_order
    from neuron_changes
    join kept using (run_id, ablation, layer, head, sequence, position)
    where run_id = $run_id
        and layer = $layer
        and ranking = 'direct_effect'
        and len(direct_effects) > 0
),

listed as (
    select
        run_id,
        ablation,
        layer,
        head,
        unnest(range(1, 101)) as hundredth,
        unnest(
            list_transform(
                range(1, 101),
                lambda i: direct_effects[
                    repair_order[greatest(1, round_even(i / 100 * d_mlp, 0)::integer)]
                ]
            )
        ) as direct_effect
    from rows_of_neurons
)

select
    run_id,
    ablation,
    layer,
    head,
    hundredth::smallint as hundredth,
    count(*) as n_rows,
    median(direct_effect) as direct_effect_median
from listed
group by all
order by all

-- One row per run, head, scale and sampled position: a scatter's worth of self_reinforcement.
-- At most 5,000 positions of a head, by md5('sequence:position') as in sampled_rows; the same for
-- all heads that were measured at the same positions.
with

sampled as (
    select
        layer,
        head,
        sequence,
        position
    from self_reinforcement
    where run_id = $run_id
        and layer between $first_layer and $last_layer
    group by
        layer,
        head,
        sequence,
        position
    qualify row_number() over (
        partition by
            layer,
            head
        order by
            md5(concat(sequence, ':', position)),
            sequence,
            position
    ) <= 5000
)

select self_reinforcement.*
from self_reinforcement
semi join sampled using (layer, head, sequence, position)
where run_id = $run_id
    and layer between $first_layer and $last_layer
order by
    run_id,
    layer,
    head,
    scale,
    sequence,
    position

-- Self-reinforcement must start from the clean direct effect, at the same positions for each scale.
-- A head's positions are counted per scale, their exclusive or compared with the head's smallest
-- scale; to 1e-4 logits direct_effect is that of the clean pass.
with

scales as (
    select
        layer,
        head,
        scale,
        count(*) as n_rows,
        bit_xor(hash(sequence, position)) as positions
    from self_reinforcement
    where layer between $first_layer and $last_layer
    group by all
),

compared as (
    select
        *,
        first_value(positions) over (
            partition by
                layer,
                head
            order by scale
        ) as positions_expected,
        first_value(n_rows) over (
            partition by
                layer,
                head
            order by scale
        ) as n_expected
    from scales
)

select
    layer,
    head,
    scale,
    null as sequence,
    null as position,
    n_rows as found,
    n_expected as expected
from compared
where positions <> positions_expected
    or n_rows <> n_expected
union all
select
    layer,
    head,
    scale,
    sequence,
    position,
    self_reinforcement.direct_effect as found,
    direct_effects.direct_effect as expected
from self_reinforcement
left join direct_effects using (run_id, layer, head, sequence, position)
where layer between $first_layer and $last_layer
    and not coalesce(
        abs(self_reinforcement.direct_effect::double - direct_effects.direct_effect)
            <= 1e-4 + 1e-5 * abs(direct_effects.direct_effect),
        false
    )

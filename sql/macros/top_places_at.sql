-- One row per run, ablated head and kept position: where a head's top rows are, by direct effect.
-- The same for every ablation, because a direct effect is of the clean run (section 2.2): the
-- details are measured at these rows, and top_by_direct_effect_at(fraction) has their numbers.
-- Kept are the floor(fraction * N) largest signed direct effects of a head's N rows; ties go to the
-- lower sequence, then to the lower position. The threshold first and row_number on what reaches
-- it: ranking all rows takes ten times as long. 1e-9 stands for 0.29 * 100 being
-- 28.999999999999996.
create macro top_places_at(fraction) as table
with

ablated as (
    select direct_effects.*
    from direct_effects
    join runs using (run_id)
    where heads is null
        or list_contains(heads, format('L{}H{}', layer, head))
),

thresholds as (
    select
        run_id,
        layer,
        head,
        quantile_disc(direct_effect, 1 - fraction) as threshold,
        floor(fraction * count(*) + 1e-9) as n_kept
    from ablated
    group by
        run_id,
        layer,
        head
),

ranked as (
    select
        ablated.*,
        row_number() over (
            partition by
                run_id,
                layer,
                head
            order by
                direct_effect desc,
                sequence,
                position
        ) as rank,
        n_kept
    from ablated
    join thresholds using (run_id, layer, head)
    where direct_effect >= threshold
)

select
    run_id,
    layer,
    head,
    sequence,
    position,
    rank
from ranked
where rank <= n_kept

-- One row per run, ablated head and kept position: where a head's top rows are, by direct effect.
-- The same for every ablation, because a direct effect is of the clean run (section 2.2): the
-- details are measured at these rows, and top_by_direct_effect_at(fraction) has their numbers. How
-- many are kept, and which of equals, is said in top_rows_of.
create macro top_places_at(fraction) as table
with

ablated as not materialized (
    select
        direct_effects.*,
        '' as ablation,
        direct_effect as ranked_by
    from direct_effects
    semi join ablated_heads() using (run_id, layer, head)
)

select
    run_id,
    layer,
    head,
    sequence,
    position,
    rank
from top_rows_of('ablated', fraction)

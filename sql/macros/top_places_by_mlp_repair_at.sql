-- One row per run, ablation, head and kept position: where its top rows are, by the MLP's repair.
-- Ranked by self_repair_from_last_mlp (Fig. 7, section 4.2.2), so that each ablation has its own;
-- top_by_mlp_repair_at(fraction) has their numbers.
create macro top_places_by_mlp_repair_at(fraction) as table
with

candidates as not materialized (
    select
        *,
        self_repair_from_last_mlp as ranked_by
    from head_ablations
)

select
    run_id,
    ablation,
    layer,
    head,
    sequence,
    position,
    rank
from top_rows_of('candidates', fraction)

-- One row per run, ablation, head and kept position: top_by_mlp_repair for another fraction.
-- Ranked by self-repair from the last MLP layer (Fig. 7, section 4.2.2), so that each ablation has
-- its own positions.
create macro top_by_mlp_repair_at(fraction) as table
with

candidates as not materialized (
    select
        *,
        self_repair_from_last_mlp as ranked_by
    from head_ablations
),

kept as (
    select *
    from top_rows_of('candidates', fraction)
)

select
    * exclude (rank),
    rank
from self_repair_of('kept')

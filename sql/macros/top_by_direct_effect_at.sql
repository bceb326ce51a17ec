-- One row per run, ablation, head and kept position: top_by_direct_effect for another fraction.
-- Ranked by signed direct effect, the paper's choice of rows (section 2.2): the same positions of a
-- head for every ablation, which are those of top_places_at(fraction).
create macro top_by_direct_effect_at(fraction) as table
with

candidates as not materialized (
    select
        *,
        direct_effect as ranked_by
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

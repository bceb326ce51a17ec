-- One row per run, ablation, head and kept position: top_by_mlp_repair for another fraction.
-- Ranked by self-repair from the last MLP layer (Fig. 7, section 4.2.2). Which positions they are
-- is top_places_by_mlp_repair_at(fraction).
create macro top_by_mlp_repair_at(fraction) as table
select
    self_repair.*,
    rank
from self_repair
join top_places_by_mlp_repair_at(fraction) as places
    using (run_id, ablation, layer, head, sequence, position)

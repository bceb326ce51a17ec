-- One row per run, ablation, head and kept position: top_by_direct_effect for another fraction.
-- Ranked by signed direct effect, the paper's choice of rows (section 2.2): the same positions of a
-- head for every ablation. Which they are is top_places_at(fraction).
create macro top_by_direct_effect_at(fraction) as table
select
    self_repair.*,
    rank
from self_repair
join top_places_at(fraction) as places using (run_id, layer, head, sequence, position)

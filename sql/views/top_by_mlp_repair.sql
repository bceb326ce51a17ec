-- One row per run, ablation, head and kept position: the head's top rows, the largest first.
-- Ranked by self-repair from the last MLP layer (Fig. 7, section 4.2.2).
-- The columns of self_repair and the rank. The fraction is the run's top_fraction (the paper: 2 %);
-- top_by_mlp_repair_at(fraction) gives another.
select * exclude (ranking)
from top_rows
where ranking = 'mlp_repair'

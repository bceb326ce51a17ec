-- One row per run, ablation and head: its mean self-repair on its top rows, beside its layer's.
-- Fig. 1 (section 2.2): a dot per head at (depth, self_repair), a line per run through
-- (depth, layer_self_repair). depth is layer / n_layers, as the authors draw it.
select *
from heads_beside_layers('self_repair')

-- One row per run, ablation and head: the LayerNorm part of self-repair on its top rows.
-- Fig. 6 (section 3.2): a dot per head at (depth, self_repair_from_layernorm), a line per run
-- through (depth, layer_self_repair_from_layernorm).
select *
from heads_beside_layers('self_repair_from_layernorm')

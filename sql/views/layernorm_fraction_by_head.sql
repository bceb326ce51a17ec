-- One row per run, ablation and head: the LayerNorm part as a clipped fraction of direct effect.
-- Fig. 11 (section 3.2, appendix A): per token self_repair_from_layernorm / direct_effect, cut to
-- [0, 1], averaged over the head's top rows, 0/0 left out. The paper finds about 0.3.
select *
from heads_beside_layers('layernorm_fraction_clipped')

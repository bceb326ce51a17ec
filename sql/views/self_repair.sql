-- One row per run, ablation, ablated head and prediction position: what every number stands on.
-- Eq. (1): self_repair = logit_change - (direct_effect_ablated - direct_effect).
-- Eq. (2): self_repair is the sum of its parts from heads, MLPs and LayerNorm; the LayerNorm part
-- is the rest. It is what layernorm_repair_measured (a macro) measures, on every row.
-- Section 2.1, 3.2 and appendix A of the paper. The rows of figures 3, 5 and 16.
-- Each column's formula is in sql/macros/self_repair_of.sql.
select *
from self_repair_of('head_ablations')

-- One row per run, ablation, ablated head and prediction position: what every number stands on.
-- Eq. (1): self_repair = logit_change - (direct_effect_ablated - direct_effect).
-- Eq. (2): self_repair is the sum of its parts from heads, MLPs and LayerNorm; the LayerNorm part
-- is the rest, and measured beside it: (x_ablated . u_t) * (1/S' - 1/S), where
-- x_ablated . u_t = S' * (logit + logit_change - logit_bias). Both agree on every row.
-- Section 2.1, 3.2 and appendix A of the paper. The rows of figures 3, 5 and 16.
-- Each column's formula is in sql/macros/self_repair_of.sql.
select *
from self_repair_of('head_ablations')

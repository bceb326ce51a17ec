-- One row per run, ablation, ablated head and prediction position: what every number stands on.
-- Eq. (1): self_repair = logit_change - (direct_effect_ablated - direct_effect).
-- Eq. (2): self_repair is the sum of its parts from heads, MLPs and LayerNorm; the LayerNorm part
-- is the rest, and measured beside it: (x_ablated . u_t) * (1/S' - 1/S), where
-- x_ablated . u_t = S' * (logit + logit_change - logit_bias). Both agree on every row.
-- Section 2.1, 3.2 and appendix A of the paper. The rows of figures 3, 5 and 16.
with

clean as (
    select
        run_id,
        sequence,
        position,
        ln_scale,
        logit,
        logit_bias
    from tokens
),

repairs as (
    select
        head_ablations.*,
        ln_scale,
        logit,
        logit_bias,
        logit_change::double - direct_effect_ablated + direct_effect as self_repair,
        self_repair - self_repair_from_heads - self_repair_from_mlps
            as self_repair_from_layernorm
    from head_ablations
    join clean using (run_id, sequence, position)
)

select
    run_id,
    ablation,
    layer,
    head,
    sequence,
    position,
    direct_effect,
    direct_effect_ablated,
    logit_change,
    ln_scale_ablated,
    self_repair_from_heads,
    self_repair_from_mlps,
    self_repair_from_last_mlp,
    ln_scale,
    logit,
    self_repair::float as self_repair,
    self_repair_from_layernorm::float as self_repair_from_layernorm,
    ((logit::double + logit_change - logit_bias) * (1 - ln_scale_ablated::double / ln_scale))::float
        as self_repair_from_layernorm_measured,
    (ln_scale::double / ln_scale_ablated)::float as layernorm_ratio,
    fraction_of(self_repair_from_layernorm, direct_effect)::float as layernorm_fraction,
    fraction_of(self_repair_from_heads, direct_effect)::float as heads_fraction,
    fraction_of(self_repair_from_mlps, direct_effect)::float as mlps_fraction,
    self_repair * sign(direct_effect) > abs(direct_effect) as overcorrected,
    self_repair * direct_effect < 0 as broken
from repairs

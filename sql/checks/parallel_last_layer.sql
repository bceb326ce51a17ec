-- In a parallel model a last-layer head must be repaired by the final norm alone: eq. (3), app. B.
-- logit_change = (S / S' - 1) * (logit - logit_bias) + (S / S') * change of direct effect, and the
-- repair from heads and MLP layers is exactly 0. Tolerance as in decomposition_identity.
with

last_layer as (
    select (n_layers - 1)::smallint as layer
    from runs
    where parallel_attention
),

predictions as (
    select
        head_ablations.* exclude (run_id),
        tokens.ln_scale::double / ln_scale_ablated as layernorm_ratio,
        (layernorm_ratio - 1) * (logit::double - logit_bias)
            + layernorm_ratio * (direct_effect_ablated::double - direct_effect)
            as logit_change_by_norm_alone,
        abs(logit::double) + abs(logit_bias) + abs(direct_effect_ablated) + abs(direct_effect)
            as sizes
    from head_ablations
    join last_layer using (layer)
    join tokens using (run_id, sequence, position)
)

select
    ablation,
    layer,
    head,
    sequence,
    position,
    logit_change,
    logit_change_by_norm_alone,
    self_repair_from_heads,
    self_repair_from_mlps
from predictions
where self_repair_from_heads <> 0
    or self_repair_from_mlps <> 0
    or not abs(logit_change - logit_change_by_norm_alone)
        <= 1e-3 + 2e-6 * (1 + layernorm_ratio) * sizes

-- The parts must sum to the whole on every row of head_ablations (eq. (1) and (2), section 2.1).
-- logit + logit_change - logit_bias
--     = (S / S') * (logit - logit_bias + direct_effect_ablated - direct_effect
--                   + self_repair_from_heads + self_repair_from_mlps
--                   + self_repair_from_post_norm)
-- The left side is the ablated logit, the right side its residual stream under the ablated scale.
-- It holds to 1e-3 logits and a millionth of the terms' sizes: each of the ten stored numbers is a
-- float32 (6e-8 of itself), which counts where massive activations make terms of thousands.
with

rows_of_layer as (
    select
        ablation,
        layer,
        head,
        sequence,
        position,
        tokens.ln_scale::double / ln_scale_ablated as layernorm_ratio,
        logit::double + logit_change - logit_bias as whole,
        layernorm_ratio * (
            logit::double - logit_bias
            + direct_effect_ablated - direct_effect
            + self_repair_from_heads + self_repair_from_mlps
            + coalesce(self_repair_from_post_norm, 0)
        ) as sum_of_parts,
        abs(logit::double) + abs(logit_bias) + abs(logit_change)
            + layernorm_ratio * (
                abs(logit) + abs(logit_bias)
                + abs(direct_effect_ablated) + abs(direct_effect)
                + abs(self_repair_from_heads) + abs(self_repair_from_mlps)
                + abs(coalesce(self_repair_from_post_norm, 0))
            ) as sizes
    from head_ablations
    join tokens using (run_id, sequence, position)
    where layer between $first_layer and $last_layer
)

select
    ablation,
    layer,
    head,
    sequence,
    position,
    whole,
    sum_of_parts,
    whole - sum_of_parts as difference
from rows_of_layer
where not abs(whole - sum_of_parts) <= 1e-3 + 1e-6 * sizes

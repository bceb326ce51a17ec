-- What head_ablations says of the clean run must be the clean pass's, for every ablation and row.
-- Two passes compute the direct effect; to 1e-4 logits (a tenth of the identity's tolerance) they
-- must agree. The clean scale S is copied from tokens and must be the same to the last bit.
select
    ablation,
    layer,
    head,
    sequence,
    position,
    head_ablations.direct_effect,
    direct_effects.direct_effect as direct_effect_of_clean_pass,
    head_ablations.ln_scale,
    tokens.ln_scale as ln_scale_of_token
from head_ablations
left join direct_effects using (run_id, layer, head, sequence, position)
left join tokens using (run_id, sequence, position)
where layer between $first_layer and $last_layer
    and not coalesce(
        abs(head_ablations.direct_effect::double - direct_effects.direct_effect)
            <= 1e-4 + 1e-5 * abs(direct_effects.direct_effect)
        and head_ablations.ln_scale = tokens.ln_scale,
        false
    )

-- The direct effect in head_ablations must be the clean pass's, for every ablation and row.
-- Two passes compute it; to 1e-4 logits (a tenth of the identity's tolerance) they must agree.
select
    ablation,
    layer,
    head,
    sequence,
    position,
    head_ablations.direct_effect,
    direct_effects.direct_effect as direct_effect_of_clean_pass
from head_ablations
left join direct_effects using (run_id, layer, head, sequence, position)
where layer = $layer
    and not coalesce(
        abs(head_ablations.direct_effect::double - direct_effects.direct_effect)
            <= 1e-4 + 1e-5 * abs(direct_effects.direct_effect),
        false
    )

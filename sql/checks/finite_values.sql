-- Every number must be a number: no NaN, no infinity, no null, and both norm scales above zero.
select
    'head_ablations' as relation,
    ablation,
    layer,
    head,
    sequence,
    position
from head_ablations
where layer between $first_layer and $last_layer
    and not coalesce(
        isfinite(direct_effect)
        and isfinite(direct_effect_ablated)
        and isfinite(logit_change)
        and isfinite(ln_scale)
        and ln_scale > 0
        and isfinite(ln_scale_ablated)
        and ln_scale_ablated > 0
        and isfinite(self_repair_from_heads)
        and isfinite(self_repair_from_mlps)
        and isfinite(self_repair_from_last_mlp)
        and isfinite(coalesce(self_repair_from_post_norm, 0)),
        false
    )
union all
select
    'direct_effects' as relation,
    null as ablation,
    layer,
    head,
    sequence,
    position
from direct_effects
where layer between $first_layer and $last_layer
    and not coalesce(isfinite(direct_effect), false)
union all
select
    'mlp_effects' as relation,
    null as ablation,
    layer,
    null as head,
    sequence,
    position
from mlp_effects
where layer between $first_layer and $last_layer
    and not coalesce(isfinite(direct_effect), false)
union all
select
    'tokens' as relation,
    null as ablation,
    null as layer,
    null as head,
    sequence,
    position
from tokens
where $first_layer = 0
    and not coalesce(
        isfinite(logit)
        and isfinite(logit_bias)
        and isfinite(ln_scale)
        and ln_scale > 0
        and token_text is not null
        and target_text is not null,
        false
    )

-- One row per run, ablation, ablated head and downstream component: who repairs whom.
-- The mean over the ablated head's top rows (by direct_effect) of the change in direct effect of
-- every downstream head and MLP layer: ablated minus clean, with the clean S. Section 2.1 adds
-- them: over the components these means sum to self_repair_from_heads and self_repair_from_mlps
-- of head_summary. component_repair_means has them without the first positions too. The error is
-- by cluster; direct_effect_change_trimmed is without a hundredth of the rows at either
-- side, one at least: where it differs by much, a few tokens make the mean.
select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    component,
    component_layer,
    component_head,
    component_name(component_layer, component_head) as component_name,
    * exclude (
        run_id,
        ablation,
        layer,
        head,
        component,
        component_layer,
        component_head,
        positions_left_out
    )
from component_repair_means
where positions_left_out = 0

-- One row per run, ablation, ablated head, kept position and downstream component: who repaired it.
-- The lists of component_changes, each change with the layer, head and name of whom it is. Kept are
-- the ablated head's top rows by direct_effect. Over the components of a position the changes sum
-- to its self_repair_from_heads and self_repair_from_mlps.
with

kept as not materialized (
    select
        component_changes.*,
        n_layers,
        n_heads
    from component_changes
    join runs using (run_id)
),

heads as (
    select
        run_id,
        ablation,
        layer,
        head,
        sequence,
        position,
        layer + 1 as first_layer,
        n_heads,
        unnest(range(len(head_changes))) as place,
        unnest(head_changes) as direct_effect_change
    from kept
),

mlps as (
    select
        run_id,
        ablation,
        layer,
        head,
        sequence,
        position,
        n_layers - len(mlp_changes) + unnest(range(len(mlp_changes))) as component_layer,
        unnest(mlp_changes) as direct_effect_change
    from kept
),

components as (
    select
        run_id,
        ablation,
        layer,
        head,
        sequence,
        position,
        'head' as component,
        first_layer + place // n_heads as component_layer,
        place % n_heads as component_head,
        direct_effect_change
    from heads
    union all by name
    select
        *,
        'mlp' as component
    from mlps
)

select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    sequence,
    position,
    component,
    component_layer::smallint as component_layer,
    component_head::smallint as component_head,
    component_name(component_layer, component_head) as component_name,
    direct_effect_change
from components

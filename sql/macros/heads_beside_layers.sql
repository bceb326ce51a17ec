-- One row per run, ablation and head: one of head_summary's means beside that of the head's layer.
-- `quantity` names the mean, such as 'self_repair': the columns are it and its error, both of the
-- layer with layer_ before them (layer_summary), and depth, which is layer / n_layers, as the
-- authors draw it.
create macro heads_beside_layers(quantity) as table
with

heads as (
    select
        run_id,
        ablation,
        layer,
        head,
        columns(lambda name: name in (quantity, quantity || '_se')),
        n_rows
    from head_summary
),

layers as (
    select
        run_id,
        ablation,
        layer,
        columns(lambda name: name in (quantity, quantity || '_se')) as "layer_\0"
    from layer_summary
)

select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    layer / n_layers as depth,
    heads.* exclude (run_id, ablation, layer, head, n_rows),
    layers.* exclude (run_id, ablation, layer),
    n_rows
from heads
join layers using (run_id, ablation, layer)
join (
    select
        run_id,
        n_layers
    from runs
) using (run_id)

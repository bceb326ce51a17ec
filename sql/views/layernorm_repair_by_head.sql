-- One row per run, ablation and head: the LayerNorm part of self-repair on its top rows.
-- Fig. 6 (section 3.2): a dot per head at (depth, self_repair_from_layernorm), a line per run
-- through (depth, layer_self_repair_from_layernorm).
with

heads as (
    select *
    from head_summary
),

layers as (
    select
        run_id,
        ablation,
        layer,
        self_repair_from_layernorm as layer_self_repair_from_layernorm,
        self_repair_from_layernorm_se as layer_self_repair_from_layernorm_se
    from layer_summary
),

models as (
    select
        run_id,
        n_layers
    from runs
)

select
    run_id,
    ablation,
    layer,
    head,
    layer / n_layers as depth,
    self_repair_from_layernorm,
    self_repair_from_layernorm_se,
    layer_self_repair_from_layernorm,
    layer_self_repair_from_layernorm_se,
    n_rows
from heads
join layers using (run_id, ablation, layer)
join models using (run_id)

-- One row per run, ablation and head: its mean self-repair on its top rows, beside its layer's.
-- Fig. 1 (section 2.2): a dot per head at (depth, self_repair), a line per run through
-- (depth, layer_self_repair). depth is layer / n_layers, as the authors draw it.
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
        self_repair as layer_self_repair,
        self_repair_se as layer_self_repair_se
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
    self_repair,
    self_repair_se,
    layer_self_repair,
    layer_self_repair_se,
    n_rows
from heads
join layers using (run_id, ablation, layer)
join models using (run_id)

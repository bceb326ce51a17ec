-- One row per run, ablation and head: the LayerNorm part as a clipped fraction of direct effect.
-- Fig. 11 (section 3.2, appendix A): per token self_repair_from_layernorm / direct_effect, cut to
-- [0, 1], averaged over the head's top rows, 0/0 left out. The paper finds about 0.3.
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
        layernorm_fraction_clipped as layer_layernorm_fraction_clipped,
        layernorm_fraction_clipped_se as layer_layernorm_fraction_clipped_se
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
    layernorm_fraction_clipped,
    layernorm_fraction_clipped_se,
    layer_layernorm_fraction_clipped,
    layer_layernorm_fraction_clipped_se,
    n_rows
from heads
join layers using (run_id, ablation, layer)
join models using (run_id)

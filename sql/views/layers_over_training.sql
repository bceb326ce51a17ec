-- One row per training series, step, ablation and layer: the layer's means at that step.
-- Figures 1, 6 and 11 over training: x is step, a line per layer, y is self_repair,
-- self_repair_from_layernorm or layernorm_fraction_clipped, each with its error. Means over the
-- layer's heads of their means over top rows (layer_summary); training_steps says what a series is.
select
    series,
    step,
    run_id,
    ablation,
    layer,
    layer / n_layers as depth,
    direct_effect,
    direct_effect_se,
    logit_change,
    logit_change_se,
    self_repair,
    self_repair_se,
    self_repair_from_layernorm,
    self_repair_from_layernorm_se,
    layernorm_fraction_clipped,
    layernorm_fraction_clipped_se,
    layer_summary.n_heads,
    n_rows,
    n_clusters
from layer_summary
join training_steps using (run_id)
join runs using (run_id)

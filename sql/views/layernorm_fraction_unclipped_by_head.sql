-- One row per run, ablation and head: the LayerNorm part as an unclipped fraction, over all rows.
-- Fig. 10 (appendix A): per token self_repair_from_layernorm / direct_effect, averaged over all
-- rows as the authors do. This is a warning, not a measurement: direct effects have positive
-- density at zero, so that the ratio has no mean, a few rows decide it, and its standard error
-- only looks like one. Rows whose direct effect is exactly 0 are left out; they would make it
-- infinite. layernorm_fraction_of_means, the ratio of the two means, is what can be read.
select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    depth,
    self_repair_from_layernorm_all / nullif(direct_effect_all, 0) as layernorm_fraction_of_means,
    heads.layernorm_fraction_unclipped_all as layernorm_fraction_unclipped,
    heads.layernorm_fraction_unclipped_all_se as layernorm_fraction_unclipped_se,
    layer_layernorm_fraction_unclipped_all as layer_layernorm_fraction_unclipped,
    layer_layernorm_fraction_unclipped_all_se as layer_layernorm_fraction_unclipped_se,
    n_rows_all as n_rows
from heads_beside_layers('layernorm_fraction_unclipped_all') as heads
join head_summary using (run_id, ablation, layer, head)

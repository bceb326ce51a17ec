-- One row per run, ablation and head: the post-norm part of self-repair on its top rows.
-- Of models with a norm between attention and residual stream: what its own scale gives back in the
-- head's layer. Drawn beside the LayerNorm part (layernorm_repair_by_head, Fig. 6): a dot per head
-- at (depth, self_repair_from_post_norm), a line per run through
-- (depth, layer_self_repair_from_post_norm).
select heads.*
from heads_beside_layers('self_repair_from_post_norm') as heads
join runs using (run_id)
where post_norm

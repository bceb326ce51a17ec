-- The changes of the downstream components must sum to the repair from heads and from MLP layers.
-- Of every kept row, and one change for each downstream head and MLP layer (section 2.1).
-- To 1e-3 logits and a hundred-thousandth of the changes' sizes; a hundredth where the layer was
-- not measured in fp32, because a product in less precision rounds the sum otherwise than its
-- terms.
-- A post-norm rescales what a downstream layer's heads write together, which is in no head's
-- change: with post-norms only the lists' lengths and the MLP layers' sum are looked at.
with

sums as (
    select
        *,
        coalesce(list_sum(head_changes), 0) as sum_of_head_changes,
        coalesce(list_sum(mlp_changes), 0) as sum_of_mlp_changes,
        coalesce(list_sum(list_transform(head_changes, lambda x: abs(x))), 0)
            + coalesce(list_sum(list_transform(mlp_changes, lambda x: abs(x))), 0) as sizes
    from component_changes
    where layer between $first_layer and $last_layer
)

select
    ablation,
    layer,
    head,
    sequence,
    position,
    len(head_changes) as n_heads_listed,
    self_repair_from_heads,
    sum_of_head_changes,
    len(mlp_changes) as n_mlps_listed,
    self_repair_from_mlps,
    sum_of_mlp_changes
from sums
join runs using (run_id)
left join head_ablations using (run_id, ablation, layer, head, sequence, position)
where len(head_changes) <> (n_layers - 1 - layer) * n_heads
    or len(mlp_changes) <> n_layers - layer - parallel_attention::integer
    or not coalesce(
        (
            coalesce(post_norm, false)
            or abs(sum_of_head_changes - self_repair_from_heads)
                <= 1e-3 + if(layer_precision[layer + 1] = 'fp32', 1e-5, 1e-2) * sizes
        )
        and abs(sum_of_mlp_changes - self_repair_from_mlps)
            <= 1e-3 + if(layer_precision[layer + 1] = 'fp32', 1e-5, 1e-2) * sizes,
        false
    )

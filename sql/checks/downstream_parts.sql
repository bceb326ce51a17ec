-- Only what is downstream of the ablated head must repair, and the last MLP layer's part fits in.
-- After the last attention layer no head is left: self_repair_from_heads is exactly 0. Where no MLP
-- layer is downstream (the last layer of a parallel model) both MLP parts are exactly 0; where one
-- is, it is the last one and its part is the whole of self_repair_from_mlps. Without post-norms
-- nothing in the head's own layer repairs: self_repair_from_post_norm is exactly 0.
with

layers as (
    select
        coalesce(post_norm, false) as post_norm,
        range::smallint as layer,
        n_layers - 1 - range as n_attention_downstream,
        n_layers - range - parallel_attention::integer as n_mlps_downstream
    from runs, range(n_layers)
)

select
    ablation,
    layer,
    head,
    sequence,
    position,
    self_repair_from_heads,
    self_repair_from_mlps,
    self_repair_from_last_mlp,
    self_repair_from_post_norm
from head_ablations
join layers using (layer)
where (not post_norm and self_repair_from_post_norm <> 0)
    or (n_attention_downstream = 0 and self_repair_from_heads <> 0)
    or (n_mlps_downstream = 0 and (self_repair_from_mlps <> 0 or self_repair_from_last_mlp <> 0))
    or (
        n_mlps_downstream = 1
        and not abs(self_repair_from_mlps - self_repair_from_last_mlp)
            <= 1e-5 * (1 + abs(self_repair_from_mlps))
    )

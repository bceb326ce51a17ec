-- One row per given row of head_ablations: its self-repair, its parts, and the LayerNorm's share.
-- The definition of everything that is measured (sections 2.1 and 3.2 of the paper; eq. (1), (2)):
--     direct_effect_removed = direct_effect - direct_effect_ablated
--     self_repair = logit_change - (direct_effect_ablated - direct_effect)
--     self_repair_from_layernorm = self_repair - self_repair_from_heads - self_repair_from_mlps
--                                - self_repair_from_post_norm
-- `ablations` names a table or a common table expression with the columns of head_ablations; other
-- columns of it come along. View self_repair has it of all rows.
create macro self_repair_of(ablations) as table
with

repairs as (
    select
        * replace (coalesce(self_repair_from_post_norm, 0) as self_repair_from_post_norm),
        self_repaired(logit_change, direct_effect, direct_effect_ablated) as self_repair,
        self_repair - self_repair_from_heads - self_repair_from_mlps
            - coalesce(self_repair_from_post_norm, 0) as self_repair_from_layernorm
    from query_table(ablations)
)

select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    * exclude (run_id, ablation, layer, head, self_repair, self_repair_from_layernorm),
    (direct_effect::double - direct_effect_ablated)::float as direct_effect_removed,
    self_repair::float as self_repair,
    self_repair_from_layernorm::float as self_repair_from_layernorm,
    (ln_scale::double / ln_scale_ablated)::float as layernorm_ratio,
    fraction_of(self_repair_from_layernorm, direct_effect)::float as layernorm_fraction,
    fraction_of(self_repair_from_heads, direct_effect)::float as heads_fraction,
    fraction_of(self_repair_from_mlps, direct_effect)::float as mlps_fraction,
    self_repair * sign(direct_effect) > abs(direct_effect) as overcorrected,
    self_repair * direct_effect < 0 as broken
from repairs

-- One list: the quantities of a row whose means are taken, by name.
-- quantities_of has them of rows; whoever summarises them asks for columns(quantities()).
create macro quantities() as [
    'direct_effect',
    'direct_effect_ablated',
    'direct_effect_removed',
    'logit_change',
    'self_repair',
    'self_repair_from_heads',
    'self_repair_from_mlps',
    'self_repair_from_last_mlp',
    'self_repair_from_post_norm',
    'self_repair_from_layernorm',
    'layernorm_ratio',
    'share_layernorm_ratio_above_one',
    'share_overcorrected',
    'share_broken',
    'layernorm_fraction_clipped',
    'heads_fraction_clipped',
    'mlps_fraction_clipped',
    'layernorm_fraction_unclipped',
    'heads_fraction_unclipped',
    'mlps_fraction_unclipped'
]

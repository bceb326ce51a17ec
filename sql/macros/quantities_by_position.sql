-- One list: the quantities whose means are taken at some positions of sequences alone, by name.
-- They are some of quantities(); summaries by bins of positions, and without the first, have them.
create macro quantities_by_position() as [
    'direct_effect',
    'direct_effect_removed',
    'logit_change',
    'self_repair',
    'self_repair_from_layernorm'
]

-- One value: a component as it is written everywhere, a head as L26H6, an MLP layer as MLP 28.
-- component_head is null for an MLP layer.
create macro component_name(component_layer, component_head) as
    coalesce(head_name(component_layer, component_head), format('MLP {}', component_layer))

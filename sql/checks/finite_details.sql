-- Every number of the details must be a number, and the neurons must be the layer's own.
select
    'component_changes' as relation,
    ablation,
    layer,
    head,
    null as scale,
    sequence,
    position
from component_changes
where layer between $first_layer and $last_layer
    and not coalesce(
        isfinite(coalesce(list_sum(head_changes), 0))
        and isfinite(coalesce(list_sum(mlp_changes), 0))
        and len(head_changes) = list_count(head_changes)
        and len(mlp_changes) = list_count(mlp_changes),
        false
    )
union all
select
    'neuron_repairs' as relation,
    ablation,
    layer,
    head,
    null as scale,
    sequence,
    position
from neuron_repairs, runs
where layer between $first_layer and $last_layer
    and not coalesce(
        isfinite(net_change)
        and isfinite(positive_change)
        and isfinite(absolute_change)
        and isfinite(coalesce(list_sum(direct_effects), 0))
        and isfinite(coalesce(list_sum(direct_effects_ablated), 0))
        and isfinite(coalesce(list_sum(cumulative_share), 0))
        and coalesce(list_min(neurons) >= 0 and list_max(neurons) < d_mlp, true)
        and len(list_distinct(neurons)) = len(neurons)
        and coalesce(list_min(negligible_counts) >= 0, true)
        and coalesce(list_max(negligible_counts) <= d_mlp, true),
        false
    )
union all
select
    'neuron_changes, ' || ranking as relation,
    ablation,
    layer,
    head,
    null as scale,
    sequence,
    position
from neuron_changes
where layer between $first_layer and $last_layer
    and not coalesce(
        ranking in ('direct_effect', 'mlp_repair')
        and isfinite(coalesce(list_sum(direct_effects), 0))
        and isfinite(coalesce(list_sum(direct_effects_ablated), 0)),
        false
    )
union all
select
    'self_reinforcement' as relation,
    null as ablation,
    layer,
    head,
    scale,
    sequence,
    position
from self_reinforcement
where layer between $first_layer and $last_layer
    and not coalesce(
        isfinite(scale)
        and isfinite(direct_effect)
        and isfinite(direct_effect_after)
        and isfinite(ln_scale_after)
        and ln_scale_after > 0,
        false
    )

-- One row per run, ablation, ablated head and downstream component: who repairs whom.
-- The mean over the ablated head's top rows (by direct_effect) of the change in direct effect of
-- every downstream head and MLP layer: ablated minus clean, with the clean S. Section 2.1 adds
-- them: over the components these means sum to self_repair_from_heads and self_repair_from_mlps
-- of head_summary. The error is clustered by sequence (tally_standard_error).
-- per: layer
with

models as (
    select
        run_id,
        n_layers,
        n_heads
    from runs
),

sequences as (
    select
        run_id,
        ablation,
        layer,
        head,
        sequence,
        count(*) as n,
        summed_lists(list(head_changes)) as head_changes,
        summed_lists(list(mlp_changes)) as mlp_changes
    from component_changes
    where run_id = $run_id
        and layer = $layer
    group by
        run_id,
        ablation,
        layer,
        head,
        sequence
),

listed as (
    select
        run_id,
        ablation,
        layer,
        head,
        n,
        'head' as component,
        layer + 1 as first_layer,
        unnest(range(len(head_changes))) as place,
        unnest(head_changes) as total
    from sequences
    union all
    select
        run_id,
        ablation,
        layer,
        head,
        n,
        'mlp' as component,
        n_layers - len(mlp_changes) as first_layer,
        unnest(range(len(mlp_changes))) as place,
        unnest(mlp_changes) as total
    from sequences
    join models using (run_id)
),

components as (
    select
        run_id,
        ablation,
        layer,
        head,
        component,
        first_layer + if(component = 'head', place // n_heads, place) as component_layer,
        if(component = 'head', place % n_heads, null) as component_head,
        struct_pack(total := total, n := n) as direct_effect_change
    from listed
    join models using (run_id)
)

select
    run_id,
    ablation,
    layer,
    head,
    component,
    component_layer::smallint as component_layer,
    component_head::smallint as component_head,
    sum(direct_effect_change.n)::bigint as n_rows,
    count(*) as n_sequences,
    tally_mean(direct_effect_change) as direct_effect_change,
    tally_standard_error(direct_effect_change) as direct_effect_change_se
from components
group by
    run_id,
    ablation,
    layer,
    head,
    component,
    component_layer,
    component_head
order by all

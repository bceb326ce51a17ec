-- The details must be measured at the top rows of every ablated head, and nowhere else.
-- component_changes and neuron_repairs at those by direct_effect, neuron_changes at those of both
-- rankings for each head that it has; a table without rows was not measured. Counted per head; that
-- they are the same positions is seen from the exclusive or of their hashes.
-- Of a run that is not measured to the end, the details are those of the whole run's top rows: of a
-- head as many as lie in the measured sequences, which are the first ones in its ranking there.
with

by_direct_effect as (
    select
        unnest(ablations) as ablation,
        places.* exclude (run_id)
    from top_places_at($kept_fraction) as places
    join runs using (run_id)
    where layer between $first_layer and $last_layer
),

by_mlp_repair as (
    select * exclude (run_id)
    from top_places_by_mlp_repair_at($kept_fraction)
    where layer between $first_layer and $last_layer
),

chosen as (
    select distinct
        layer,
        head
    from neuron_changes
    where layer between $first_layer and $last_layer
),

expected as (
    select
        'component_changes' as relation,
        *
    from by_direct_effect
    where exists (
        from component_changes
    )
    union all
    select
        'neuron_repairs' as relation,
        *
    from by_direct_effect
    where exists (
        from neuron_repairs
    )
    union all
    select
        'neuron_changes, direct_effect' as relation,
        *
    from by_direct_effect
    semi join chosen using (layer, head)
    union all by name
    select
        'neuron_changes, mlp_repair' as relation,
        *
    from by_mlp_repair
    semi join chosen using (layer, head)
),

found as (
    select
        'component_changes' as relation,
        ablation,
        layer,
        head,
        sequence,
        position
    from component_changes
    where layer between $first_layer and $last_layer
    union all
    select
        'neuron_repairs' as relation,
        ablation,
        layer,
        head,
        sequence,
        position
    from neuron_repairs
    where layer between $first_layer and $last_layer
    union all
    select
        'neuron_changes, ' || ranking as relation,
        ablation,
        layer,
        head,
        sequence,
        position
    from neuron_changes
    where layer between $first_layer and $last_layer
),

found_heads as (
    select
        relation,
        ablation,
        layer,
        head,
        count(*) as n_found,
        bit_xor(hash(sequence, position)) as positions_found
    from found
    group by all
),

expected_heads as (
    select
        relation,
        ablation,
        layer,
        head,
        count(*) as n_expected,
        bit_xor(hash(sequence, position)) as positions_expected
    from expected
    cross join runs
    left join found_heads using (relation, ablation, layer, head)
    where coalesce(n_sequences_measured, n_sequences) = n_sequences
        or rank <= coalesce(n_found, 0)
    group by all
)

select
    relation,
    ablation,
    layer,
    head,
    coalesce(n_expected, 0) as n_expected,
    coalesce(n_found, 0) as n_found
from expected_heads
full join found_heads using (relation, ablation, layer, head)
where positions_expected is distinct from positions_found
    or n_expected is distinct from n_found

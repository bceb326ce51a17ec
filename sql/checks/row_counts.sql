-- Each head, layer and ablation must have one row for each prediction position, and no other.
-- Counted per table and group; that the positions are the tokens' own, none twice, is seen from the
-- exclusive or of their hashes.
with

text as (
    select
        count(distinct row(sequence, position)) as n_positions,
        bit_xor(hash(sequence, position)) as positions
    from tokens
),

expected as (
    select
        'sequences' as relation,
        null::varchar as ablation,
        null::smallint as layer,
        null::smallint as head,
        coalesce(n_sequences_measured, n_sequences)::bigint as n_expected,
        null::ubigint as positions
    from runs
    union all
    select
        'tokens',
        null,
        null,
        null,
        coalesce(n_sequences_measured, n_sequences)::bigint * (sequence_length - 1),
        null
    from runs
    union all
    select
        'tokens, different',
        null,
        null,
        null,
        n_tokens,
        null
    from runs
    union all
    select
        'direct_effects',
        null,
        layer,
        head,
        n_tokens,
        positions
    from runs, text, range(n_layers) as layers(layer), range(n_heads) as heads_of_layer(head)
    union all
    select
        'mlp_effects',
        null,
        layer,
        null,
        n_tokens,
        positions
    from runs, text, range(n_layers) as layers(layer)
    union all
    select
        'head_ablations',
        unnest(ablations),
        layer,
        head,
        n_tokens,
        positions
    from runs, text, ablated_heads()
),

found as (
    select
        'sequences' as relation,
        null::varchar as ablation,
        null::smallint as layer,
        null::smallint as head,
        count(distinct sequence) as n_found,
        null::ubigint as positions
    from sequences, runs
    where sequence between 0 and coalesce(n_sequences_measured, n_sequences) - 1
    union all
    select
        'tokens',
        null,
        null,
        null,
        count(*),
        null
    from tokens
    union all
    select
        'tokens, different',
        null,
        null,
        null,
        n_positions,
        null
    from text
    union all
    select
        'direct_effects',
        null,
        layer,
        head,
        count(*),
        bit_xor(hash(sequence, position))
    from direct_effects
    group by all
    union all
    select
        'mlp_effects',
        null,
        layer,
        null,
        count(*),
        bit_xor(hash(sequence, position))
    from mlp_effects
    group by all
    union all
    select
        'head_ablations',
        ablation,
        layer,
        head,
        count(*),
        bit_xor(hash(sequence, position))
    from head_ablations
    group by all
)

select
    coalesce(expected.relation, found.relation) as relation,
    coalesce(expected.ablation, found.ablation) as ablation,
    coalesce(expected.layer, found.layer) as layer,
    coalesce(expected.head, found.head) as head,
    coalesce(n_expected, 0) as n_expected,
    coalesce(n_found, 0) as n_found,
    (expected.positions is not distinct from found.positions) as positions_agree
from expected
full join found
    on expected.relation = found.relation
    and expected.ablation is not distinct from found.ablation
    and expected.layer is not distinct from found.layer
    and expected.head is not distinct from found.head
where coalesce(n_expected, 0) <> coalesce(n_found, 0)
    or not positions_agree
order by
    relation,
    ablation,
    layer,
    head

-- The run's own row must fit its sizes: n_tokens, one precision per layer, known ablations.
-- n_tokens are those of the sequences that are measured.
select
    run_id,
    n_sequences,
    n_sequences_measured,
    sequence_length,
    n_tokens,
    n_layers,
    layer_precision,
    ablations
from runs
where n_tokens <> coalesce(n_sequences_measured, n_sequences)::bigint * (sequence_length - 1)
    or n_sequences < 2
    or coalesce(n_sequences_measured, n_sequences) not between 1 and n_sequences
    or len(layer_precision) <> n_layers
    or len(ablations) = 0
    or len(list_distinct(ablations)) <> len(ablations)
    or not list_has_all(['resample', 'mean', 'zero'], ablations)
    or top_fraction <= 0
    or top_fraction > 1

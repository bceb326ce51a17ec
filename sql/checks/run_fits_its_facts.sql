-- The run's own row must fit its sizes: n_tokens, one precision per layer, known ablations.
select
    run_id,
    n_sequences,
    sequence_length,
    n_tokens,
    n_layers,
    layer_precision,
    ablations
from runs
where n_tokens <> n_sequences::bigint * (sequence_length - 1)
    or n_sequences < 2
    or len(layer_precision) <> n_layers
    or len(ablations) = 0
    or len(list_distinct(ablations)) <> len(ablations)
    or not list_has_all(['resample', 'mean', 'zero'], ablations)
    or top_fraction <= 0
    or top_fraction > 1

-- Token ids must be in the vocabulary, and positions and sequences in the text.
select
    sequence,
    position,
    token,
    target
from tokens, runs
where not coalesce(
    token between 0 and d_vocab - 1
    and target between 0 and d_vocab - 1
    and sequence between 0 and coalesce(n_sequences_measured, n_sequences) - 1
    and position between 0 and sequence_length - 2,
    false
)

-- One row per run, ablation, head, set of rows and sequence: the sequence's mean self-repair.
-- Section 2.3, "per prompt": how much one head's self-repair differs from text to text. The sets
-- are 'all' and 'top_by_direct_effect'.
select
    run_id,
    ablation,
    layer,
    head,
    row_set,
    sequence,
    n_rows,
    direct_effect.total / n_rows as direct_effect,
    logit_change.total / n_rows as logit_change,
    self_repair.total / n_rows as self_repair,
    share_overcorrected.total / n_rows as share_overcorrected,
    share_broken.total / n_rows as share_broken
from sequence_totals

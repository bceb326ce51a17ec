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
    count(*) as n_rows,
    avg(columns([
        'direct_effect',
        'direct_effect_removed',
        'logit_change',
        'self_repair'
    ])::double) as "\0",
    avg(overcorrected::integer) as share_overcorrected,
    avg(broken::integer) as share_broken
from rows_of_sets()
where run_id = $run_id
    and layer between $first_layer and $last_layer
group by all

-- One row per run, ablation, head, set of rows and sequence: the sequence's mean self-repair.
-- Section 2.3, "per prompt": how much one head's self-repair differs from text to text. The sets
-- are 'all' and 'top_by_direct_effect'.
-- per: layer
with

everything as (
    select
        'all' as row_set,
        *
    from self_repair
    where run_id = $run_id
        and layer = $layer
),

kept as (
    select
        'top_by_direct_effect' as row_set,
        * exclude (rank)
    from top_by_direct_effect
    where run_id = $run_id
        and layer = $layer
),

rows_of_sets as (
    from everything
    union all by name
    from kept
)

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
from rows_of_sets
group by
    run_id,
    ablation,
    layer,
    head,
    row_set,
    sequence

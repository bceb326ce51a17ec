-- One row per run, ablation, head, set of rows and sequence that has such rows: its tallies.
-- The sets are 'all' and 'top_by_direct_effect'. A tally holds the total and the count of a
-- quantity, from which every mean follows, and its standard error clustered by sequence.
-- A clipped fraction is cut to [0, 1] and leaves out 0/0; an unclipped one leaves out every row
-- whose direct effect is exactly 0, because one such row would make the mean infinite.
-- per: layer
with

everything as (
    select *
    from self_repair
    where run_id = $run_id
        and layer = $layer
),

kept as (
    select * exclude (rank)
    from top_by_direct_effect
    where run_id = $run_id
        and layer = $layer
),

rows_of_sets as (
    select
        'all' as row_set,
        *
    from everything
    union all by name
    select
        'top_by_direct_effect' as row_set,
        *
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
    tally(columns([
        'direct_effect',
        'direct_effect_ablated',
        'logit_change',
        'self_repair',
        'self_repair_from_heads',
        'self_repair_from_mlps',
        'self_repair_from_last_mlp',
        'self_repair_from_layernorm',
        'layernorm_ratio'
    ])) as "\0",
    tally(layernorm_ratio > 1) as share_layernorm_ratio_above_one,
    tally(overcorrected) as share_overcorrected,
    tally(broken) as share_broken,
    tally(clipped(columns(['layernorm_fraction', 'heads_fraction', 'mlps_fraction'])))
        as "\0_clipped",
    tally(finite(columns(['layernorm_fraction', 'heads_fraction', 'mlps_fraction'])))
        as "\0_unclipped"
from rows_of_sets
group by
    run_id,
    ablation,
    layer,
    head,
    row_set,
    sequence

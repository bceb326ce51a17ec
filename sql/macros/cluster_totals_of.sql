-- One row per run, ablation, head, set of rows and cluster that has such rows: its tallies.
-- `row_sets` names rows of self_repair with the columns row_set and cluster. A tally holds the
-- total and the count of a quantity, from which means and their clustered errors follow.
-- A clipped fraction is cut to [0, 1] and leaves out 0/0; an unclipped one leaves out every row
-- whose direct effect is exactly 0, because one such row would make the mean infinite.
create macro cluster_totals_of(row_sets) as table
select
    run_id,
    ablation,
    layer,
    head,
    row_set,
    cluster,
    count(*) as n_rows,
    tally(columns([
        'direct_effect',
        'direct_effect_ablated',
        'direct_effect_removed',
        'logit_change',
        'self_repair',
        'self_repair_from_heads',
        'self_repair_from_mlps',
        'self_repair_from_last_mlp',
        'self_repair_from_layernorm',
        'layernorm_ratio'
    ])) as "\0",
    tally((layernorm_ratio > 1)::integer) as share_layernorm_ratio_above_one,
    tally(overcorrected::integer) as share_overcorrected,
    tally(broken::integer) as share_broken,
    tally(clipped(columns(['layernorm_fraction', 'heads_fraction', 'mlps_fraction'])))
        as "\0_clipped",
    tally(finite(columns(['layernorm_fraction', 'heads_fraction', 'mlps_fraction'])))
        as "\0_unclipped"
from query_table(row_sets)
group by
    run_id,
    ablation,
    layer,
    head,
    row_set,
    cluster

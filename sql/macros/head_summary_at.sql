-- One row per run, ablation and head: view head_summary for another fraction.
-- The same columns; top_fraction is the one given. The rows are ranked anew from all facts, which
-- takes seconds where the view takes none: name the run and the layer where that is enough.
create macro head_summary_at(fraction) as table
with

top_rows_at as (
    select *
    from top_by_direct_effect_at(fraction)
),

totals_at as (
    select
        run_id,
        ablation,
        layer,
        head,
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
    from top_rows_at
    group by
        run_id,
        ablation,
        layer,
        head,
        sequence
),

over_top as (
    select
        run_id,
        ablation,
        layer,
        head,
        sum(n_rows)::bigint as n_rows,
        count(*) as n_sequences,
        tally_mean(columns(
            * exclude (run_id, ablation, layer, head, sequence, n_rows)
        )) as "\0",
        tally_standard_error(columns(
            * exclude (run_id, ablation, layer, head, sequence, n_rows)
        )) as "\0_se"
    from totals_at
    group by
        run_id,
        ablation,
        layer,
        head
),

over_all as (
    select
        run_id,
        ablation,
        layer,
        head,
        columns('_all(_se)?$')
    from head_summary
)

select
    run_id,
    ablation,
    layer,
    head,
    fraction::double as top_fraction,
    coalesce(n_rows, 0) as n_rows,
    coalesce(n_sequences, 0) as n_sequences,
    over_top.* exclude (run_id, ablation, layer, head, n_rows, n_sequences),
    over_all.* exclude (run_id, ablation, layer, head)
from over_all
left join over_top using (run_id, ablation, layer, head)

-- One row per run, ablation and head: view head_summary for another fraction.
-- The same columns; top_fraction is the one given. The rows are ranked anew from all facts, which
-- takes seconds where the view takes none: name the run and the layer where that is enough.
create macro head_summary_at(fraction) as table
with

row_sets_at as (
    select
        'top_by_direct_effect' as row_set,
        *
    from top_by_direct_effect_at(fraction)
    join position_clusters using (run_id, sequence, position)
),

totals_at as (
    select *
    from cluster_totals_of('row_sets_at')
),

cuts_at as (
    select
        'top_by_direct_effect' as row_set,
        *
    from cut_means_at(fraction)
),

influences_at as (
    select *
    from head_influences_of('totals_at', 'cluster_counts', 'cuts_at')
),

over_top as (
    select *
    from head_means_of('totals_at', 'influences_at')
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
    head_name(layer, head) as name,
    fraction::double as top_fraction,
    coalesce(n_rows, 0) as n_rows,
    coalesce(n_clusters, 0) as n_clusters,
    over_top.* exclude (run_id, ablation, layer, head, row_set, n_rows, n_clusters),
    over_all.* exclude (run_id, ablation, layer, head)
from over_all
left join over_top using (run_id, ablation, layer, head)

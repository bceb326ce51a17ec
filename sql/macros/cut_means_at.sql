-- One row per run, ablation and head: what a row is like just where its top rows end.
-- The threshold of direct_effect, and the mean of every other quantity over the rows ranked within
-- `reach` of the last one that is kept (ranked_rows_of). The top rows are selected, and the cut
-- moves with the text: a standard error needs to know what it moves over (head_influences_of).
create macro cut_means_at(fraction) as table
with

candidates as not materialized (
    select
        *,
        direct_effect as ranked_by
    from head_ablations
),

near as (
    select *
    from ranked_rows_of('candidates', fraction)
    where rank > n_kept - reach
)

select
    run_id,
    ablation,
    layer,
    head,
    (min(direct_effect) filter (where rank <= n_kept))::double as direct_effect,
    avg(columns([
        'direct_effect_ablated',
        'direct_effect_removed',
        'logit_change',
        'self_repair',
        'self_repair_from_heads',
        'self_repair_from_mlps',
        'self_repair_from_last_mlp',
        'self_repair_from_layernorm',
        'layernorm_ratio'
    ])::double) as "\0",
    avg((layernorm_ratio > 1)::integer) as share_layernorm_ratio_above_one,
    avg(overcorrected::integer) as share_overcorrected,
    avg(broken::integer) as share_broken,
    avg(clipped(columns(['layernorm_fraction', 'heads_fraction', 'mlps_fraction'])))
        as "\0_clipped",
    avg(finite(columns(['layernorm_fraction', 'heads_fraction', 'mlps_fraction']))::double)
        as "\0_unclipped"
from self_repair_of('near')
group by
    run_id,
    ablation,
    layer,
    head

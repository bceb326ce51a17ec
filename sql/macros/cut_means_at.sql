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
),

repairs as (
    select *
    from self_repair_of('near')
)

select
    run_id,
    ablation,
    layer,
    head,
    (min(direct_effect) filter (where rank <= n_kept))::double as direct_effect,
    avg(
        columns(lambda name: name in quantities() and name <> 'direct_effect')::double
    ) as "\0"
from quantities_of('repairs')
group by all

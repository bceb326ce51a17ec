-- One row per run that is a step of a training series: which series, and which step of it.
-- A series is two or more runs of one model, measured on one corpus at several steps of training:
-- revisions (model@step1000, model@stage1-step1000-tokens4B) or folders that end so (tiny@step1000,
-- tiny-step1000, tiny/checkpoint-500, tiny/global_step500). The name before the step is the
-- series'; a run without a step in its name, such as the finished model, is in none.
with

named as (
    select
        run_id,
        corpus,
        regexp_extract(
            run_id,
            '^(.+?)[@/_.-](?:stage[0-9]+[-_])?(?:global[-_]?)?'
            || '(?:step|checkpoint|ckpt|iteration|iter)[-_]?([0-9]{1,15})(?:[-_.@][^/]*)?$',
            ['model', 'step'],
            'i'
        ) as found
    from runs
)

select
    run_id,
    if(
        min(corpus) over (partition by found.model) = max(corpus) over (partition by found.model),
        found.model,
        concat(found.model, ' on ', corpus)
    ) as series,
    found.step::bigint as step,
    count(*) over (
        partition by
            found.model,
            corpus
    ) as n_runs
from named
where found.step <> ''
qualify n_runs > 1

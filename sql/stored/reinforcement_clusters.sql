-- One row per run and position on which heads are fed their own output: the cluster it counts in.
-- Documents where these positions are of ten or more, else sequences, as in position_clusters: they
-- are the first tokens of a run's first sequences only.
with

places as (
    select distinct
        run_id,
        sequence,
        position
    from self_reinforcement
    where run_id = $run_id
),

texts as (
    select
        run_id,
        sequence,
        position,
        document
    from tokens
    join places using (run_id, sequence, position)
),

counts as (
    select count(distinct document) >= 10 as by_document
    from texts
)

select
    run_id,
    sequence,
    position,
    if(by_document, document, sequence) as cluster
from texts, counts

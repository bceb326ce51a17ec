-- One row per run and prediction position: the cluster that it counts in.
-- Tokens of one text are alike, so that errors are of clusters: documents where the run has ten or
-- more, else sequences. A cluster is numbered as its document, or its sequence, is.
with

counts as (
    select count(distinct document) >= 10 as by_document
    from tokens
    where run_id = $run_id
)

select
    run_id,
    sequence,
    position,
    if(by_document, document, sequence) as cluster
from tokens, counts
where run_id = $run_id
order by
    run_id,
    sequence,
    position

-- One row per run: what its errors are clustered by, and how many clusters there are.
-- By document where the run's text is of ten documents or more, else by sequence. Below ten
-- clusters nothing is labelled (Student's t has too few degrees of freedom to be trusted): labels
-- are null.
with

counts as (
    select
        run_id,
        count(distinct cluster) as n_clusters
    from position_clusters
    group by all
),

texts as (
    select
        run_id,
        count(*) as n_documents
    from documents
    group by all
)

select
    run_id,
    coalesce(n_documents, 0) as n_documents,
    coalesce(n_sequences_measured, n_sequences) as n_sequences,
    if(n_documents >= 10, 'document', 'sequence') as clustered_by,
    n_clusters
from runs
join counts using (run_id)
left join texts using (run_id)

-- One row per run and document of its text: how much of the document was measured.
-- A run's sequences are drawn from the corpus at random (runs.sample, runs.drawn_from), so that its
-- documents are a sample too. Rows of one document are alike: errors are clustered by document
-- where there are ten or more (run_clusters). Runs that were measured before documents were kept
-- have none.
with

names as (
    select
        run_id,
        unnest(document_numbers) as document,
        unnest(document_names) as document_name
    from sequences
    where run_id = $run_id
)

select
    run_id,
    document,
    any_value(document_name) as document_name,
    count(distinct sequence) as n_sequences,
    count(*) as n_rows
from tokens
join (
    select distinct *
    from names
) using (run_id, document)
where run_id = $run_id
group by all
order by
    run_id,
    document

-- One row per run, ablation, head and sampled prediction position: a scatter's worth of rows.
-- 5,000 positions of a run, the same for all its heads and ablations: those of the smallest
-- md5('sequence:position'), which looks random and is the same everywhere; all where a run has
-- fewer. All rows of one head are in self_repair.
with

sampled as (
    select
        run_id,
        sequence,
        position
    from tokens
    where run_id = $run_id
    order by
        md5(concat(sequence, ':', position)),
        sequence,
        position
    limit 5000
),

kept as (
    select head_ablations.*
    from head_ablations
    semi join sampled using (run_id, sequence, position)
    where run_id = $run_id
)

select *
from self_repair_of('kept')
order by
    ablation,
    layer,
    head,
    sequence,
    position

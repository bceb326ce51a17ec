-- One row per kept row: of each head's N rows, the floor(fraction * N) that rank highest.
-- `candidates` names a table or a common table expression with the columns run_id, ablation, layer,
-- head, sequence, position and ranked_by, the largest first; other columns of it come along. Ties
-- go to the lower sequence, then to the lower position.
-- The threshold first and row_number on what reaches it: ranking all rows takes ten times as long.
-- 1e-9 stands for 0.29 * 100 being 28.999999999999996.
create macro top_rows_of(candidates, fraction) as table
with

thresholds as (
    select
        run_id,
        ablation,
        layer,
        head,
        quantile_disc(ranked_by, 1 - fraction) as threshold,
        floor(fraction * count(*) + 1e-9) as n_kept
    from query_table(candidates)
    group by
        run_id,
        ablation,
        layer,
        head
),

ranked as (
    select
        one.*,
        row_number() over (
            partition by
                run_id,
                ablation,
                layer,
                head
            order by
                ranked_by desc,
                sequence,
                position
        ) as rank,
        n_kept
    from query_table(candidates) as one
    join thresholds using (run_id, ablation, layer, head)
    where ranked_by >= threshold
)

select * exclude (ranked_by, n_kept)
from ranked
where rank <= n_kept

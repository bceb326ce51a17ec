-- One row per kept row and row just below: of each head's N rows, those that rank highest.
-- n_kept = floor(fraction * N) are kept; `reach` more are ranked, half as many as are kept and ten
-- at least, so that a quantity's mean at the cut can be had (cut_means_at). `candidates` names a
-- table or a common table expression with the columns run_id, ablation, layer, head, sequence,
-- position and ranked_by, the largest first; other columns of it come along. Ties go to the lower
-- sequence, then to the lower position.
-- The threshold first and row_number on what reaches it: ranking all rows takes ten times as long.
-- 1e-9 stands for 0.29 * 100 being 28.999999999999996.
create macro ranked_rows_of(candidates, fraction) as table
with

thresholds as (
    select
        run_id,
        ablation,
        layer,
        head,
        least(
            quantile_disc(ranked_by, greatest(0, 1 - 1.5 * fraction)),
            list_min(max(ranked_by, 30))
        ) as threshold,
        floor(fraction * count(*) + 1e-9) as n_kept,
        greatest(10, n_kept // 2) as reach
    from query_table(candidates)
    group by all
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
        n_kept,
        reach
    from query_table(candidates) as one
    join thresholds using (run_id, ablation, layer, head)
    where ranked_by >= threshold
)

select * exclude (ranked_by)
from ranked
where rank <= n_kept + reach

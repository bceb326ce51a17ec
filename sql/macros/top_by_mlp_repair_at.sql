-- One row per run, ablation, head and kept position: top_by_mlp_repair for another fraction.
-- Ranked by self-repair from the last MLP layer (Fig. 7, section 4.2.2).
-- Kept are the floor(fraction * N) largest of a head's N rows; ties go to the lower sequence, then
-- to the lower position. The threshold first and row_number on what reaches it: ranking all rows
-- takes ten times as long. 1e-9 stands for 0.29 * 100 being 28.999999999999996.
create macro top_by_mlp_repair_at(fraction) as table
with

thresholds as (
    select
        run_id,
        ablation,
        layer,
        head,
        quantile_disc(self_repair_from_last_mlp, 1 - fraction) as threshold,
        floor(fraction * count(*) + 1e-9) as n_kept
    from head_ablations
    group by
        run_id,
        ablation,
        layer,
        head
),

ranked as (
    select
        self_repair.*,
        row_number() over (
            partition by
                run_id,
                ablation,
                layer,
                head
            order by
                self_repair_from_last_mlp desc,
                sequence,
                position
        ) as rank,
        n_kept
    from self_repair
    join thresholds using (run_id, ablation, layer, head)
    where self_repair_from_last_mlp >= threshold
)

select * exclude (n_kept)
from ranked
where rank <= n_kept

-- One row per run, ablation, head and kept position: where its top rows are, by the MLP's repair.
-- Ranked by self_repair_from_last_mlp (Fig. 7, section 4.2.2), so that each ablation has its own.
-- Kept are the floor(fraction * N) largest of a head's N rows, ties by place, as in top_places_at;
-- top_by_mlp_repair_at(fraction) has their numbers.
create macro top_places_by_mlp_repair_at(fraction) as table
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
        head_ablations.*,
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
    from head_ablations
    join thresholds using (run_id, ablation, layer, head)
    where self_repair_from_last_mlp >= threshold
)

select
    run_id,
    ablation,
    layer,
    head,
    sequence,
    position,
    rank
from ranked
where rank <= n_kept

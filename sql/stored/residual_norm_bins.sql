-- One row per run, ablation, head and bin of the residual-norm ratio that holds rows.
-- The ratio is ln_scale_ablated / ln_scale, over all rows (Fig. 16). Bins are 0.005 wide: bin b
-- holds b/200 <= ratio < (b + 1)/200; the last, 800, holds everything from 4 on.
select
    run_id,
    ablation,
    layer,
    head,
    least(floor(200 * ln_scale_ablated::double / ln_scale), 800)::smallint as bin,
    count(*) as n_rows
from self_repair
where run_id = $run_id
group by all
order by all

-- One row per run, ablation, head and bin that holds rows: residual-norm ratio over all rows.
-- Fig. 16 (appendix D): the ratio is ln_scale_ablated / ln_scale, the final residual's norm after
-- ablation over that before. Bins are 0.005 wide, bin_start <= ratio < bin_end; empty ones are left
-- out, and the last reaches from 4 to infinity.
select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    bin / 200 as bin_start,
    case
        when bin < 800 then (bin + 1) / 200
        else 'infinity'::double
    end as bin_end,
    n_rows,
    n_rows / sum(n_rows) over (
        partition by
            run_id,
            ablation,
            layer,
            head
    ) as share
from residual_norm_bins

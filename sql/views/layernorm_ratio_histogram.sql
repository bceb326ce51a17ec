-- One row per run, ablation, head and bin that holds rows: layernorm_ratio over the top rows.
-- Fig. 4, 17 and 18 (section 3.2): the ratio is ln_scale / ln_scale_ablated; above 1 the norm
-- amplifies what is left. Bins are 0.005 wide, bin_start <= ratio < bin_end; empty ones are left
-- out. share_above_one belongs to the head (paper, Pythia-160M L11H2: 0.9066 under resample,
-- 0.9875 under mean and 1 under zero ablation).
with

bins as (
    select
        run_id,
        ablation,
        layer,
        head,
        floor(200 * layernorm_ratio::double)::integer as bin,
        count(*) as n_rows
    from top_by_direct_effect
    group by all
),

heads as (
    select
        run_id,
        ablation,
        layer,
        head,
        n_rows as n_head_rows,
        share_layernorm_ratio_above_one as share_above_one,
        share_layernorm_ratio_above_one_se as share_above_one_se
    from head_summary
)

select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    bin / 200 as bin_start,
    (bin + 1) / 200 as bin_end,
    n_rows,
    n_rows / n_head_rows as share,
    share_above_one,
    share_above_one_se
from bins
join heads using (run_id, ablation, layer, head)

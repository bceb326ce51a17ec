-- One row per run, ablation, chosen head and bin that holds rows: the histogram in Fig. 7.
-- Of the clean direct effect of the most repairing neuron (top_repairing_neuron). Bins are 0.05
-- logits wide, bin_start <= direct_effect < bin_end; empty ones are left out.
with

bins as (
    select
        run_id,
        ablation,
        layer,
        head,
        floor(20 * direct_effect::double)::integer as bin,
        count(*) as n_rows
    from top_repairing_neuron
    group by all
)

select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    bin / 20 as bin_start,
    (bin + 1) / 20 as bin_end,
    n_rows,
    n_rows / sum(n_rows) over (
        partition by
            run_id,
            ablation,
            layer,
            head
    ) as share
from bins

-- One row per run, ablation, head and cluster: the rows that top rows are chosen from.
select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    cluster,
    n_rows as n_all
from cluster_totals
where row_set = 'all'

-- One row per run, ablation, head and cluster: the rows that top rows are chosen from.
select
    run_id,
    ablation,
    layer,
    head,
    cluster,
    n_rows as n_all
from cluster_totals
where row_set = 'all'

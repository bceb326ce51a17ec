-- One row per run, ablation, head, set of rows and cluster: how the cluster moves every mean.
-- A mean's standard error is sqrt(G / (G - 1) * sum over clusters of its influence^2). Take the
-- difference of two heads' influences for the error of their difference. head_influences_of has
-- the formula.
select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    * exclude (run_id, ablation, layer, head)
from head_influences_of('cluster_totals', 'cluster_counts', 'cut_means')

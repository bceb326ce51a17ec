-- One row per run, ablation and ablated head: how much the last MLP layer's neurons change.
-- Over the head's top rows (by direct_effect), of the sums over all neurons (section 4.2.1). A
-- share_below_x is the share of neurons whose |change| is below x times the head's |direct effect|.
-- The rows of heads that the last MLP layer is not downstream of are left out. Errors are by
-- cluster (run_clusters).
with

repairs as (
    select
        run_id,
        ablation,
        layer,
        head,
        cluster,
        net_change::double as net_change,
        positive_change::double as positive_change,
        absolute_change::double as absolute_change,
        negligible_counts[1] / d_mlp as share_below_0_0001,
        negligible_counts[2] / d_mlp as share_below_0_001,
        negligible_counts[3] / d_mlp as share_below_0_01,
        negligible_counts[4] / d_mlp as share_below_0_1,
        positive_change / nullif(net_change::double, 0) as positive_to_net
    from neuron_repairs
    join runs using (run_id)
    join position_clusters using (run_id, sequence, position)
    where run_id = $run_id
        and layer between $first_layer and $last_layer
        and len(neurons) > 0
),

medians as (
    select
        run_id,
        ablation,
        layer,
        head,
        median(positive_to_net) as positive_to_net_median
    from repairs
    group by all
),

totals as (
    select
        run_id,
        ablation,
        layer,
        head,
        cluster,
        count(*) as n,
        tally(columns([
            'net_change',
            'positive_change',
            'absolute_change',
            'share_below_0_0001',
            'share_below_0_001',
            'share_below_0_01',
            'share_below_0_1'
        ])) as "\0"
    from repairs
    group by all
),

means as (
    select
        run_id,
        ablation,
        layer,
        head,
        sum(n)::bigint as n_rows,
        count(*) as n_clusters,
        tally_mean(columns(* exclude (run_id, ablation, layer, head, cluster, n))) as "\0",
        tally_standard_error(columns(* exclude (run_id, ablation, layer, head, cluster, n)))
            as "\0_se"
    from totals
    group by all
)

select
    means.*,
    positive_change / nullif(net_change, 0) as positive_to_net_of_means,
    positive_to_net_median
from means
join medians using (run_id, ablation, layer, head)
order by
    run_id,
    ablation,
    layer,
    head

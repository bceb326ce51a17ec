-- One row per run, ablation, ablated head and measured number of neurons: the cumulative share.
-- Over the head's top rows (by direct_effect): of the summed |change in direct effect| of the last
-- MLP layer's neurons, the mean share that the first n_neurons in order of repair have (appendix
-- C). n_neurons is 0, each of the first 50 (from the neurons kept in neuron_repairs), every
-- hundredth of the layer, and each of the last 50 (cumulative_share_counts; runs of an earlier
-- version lack these last ones). Rows in which no neuron changes are left out. The error is by
-- cluster.
with

shares as (
    select
        run_id,
        ablation,
        layer,
        head,
        cluster,
        cumulative_share,
        list_transform(
            list_zip(direct_effects, direct_effects_ablated),
            lambda pair: abs(pair[2]::double - pair[1]) / absolute_change
        ) as shares_of_first
    from neuron_repairs
    join position_clusters using (run_id, sequence, position)
    where run_id = $run_id
        and layer between $first_layer and $last_layer
        and absolute_change > 0
),

clusters as materialized (
    select
        run_id,
        ablation,
        layer,
        head,
        cluster,
        count(*) as n,
        summed_lists(list(cumulative_share)) as totals,
        summed_lists(list(shares_of_first)) as totals_of_first
    from shares
    group by all
),

-- Which item of cumulative_share is which number of neurons, in lists of either length; in a small
-- layer several hundredths may be the same number, and once is enough.
lengths as (
    select distinct
        run_id,
        d_mlp,
        len(totals) as n_points
    from clusters
    join runs using (run_id)
),

places as (
    select
        run_id,
        n_points,
        unnest(cumulative_share_counts(d_mlp, n_points)) as n_neurons,
        unnest(range(1, n_points + 1)) as place
    from lengths
),

known as (
    select
        run_id,
        n_points,
        n_neurons,
        min(place) as place
    from places
    group by all
),

measured as (
    select
        run_id,
        ablation,
        layer,
        head,
        n,
        len(totals_of_first) as n_first,
        len(totals) as n_points,
        unnest(range(1, len(totals) + 1)) as place,
        unnest(totals) as total
    from clusters
),

-- Up to the 50th neuron the kept ones add up to the share; beyond, it was measured.
points as (
    select
        run_id,
        ablation,
        layer,
        head,
        unnest(range(1, len(totals_of_first) + 1)) as n_neurons,
        unnest(list_transform(
            range(1, len(totals_of_first) + 1),
            lambda k: list_sum(totals_of_first[:k])
        )) as total,
        n
    from clusters
    union all
    select
        run_id,
        ablation,
        layer,
        head,
        n_neurons,
        total,
        n
    from measured
    join known using (run_id, n_points, place)
    where n_neurons not between 1 and n_first
),

tallies as (
    select
        run_id,
        ablation,
        layer,
        head,
        n_neurons,
        struct_pack(total := total, n := n) as cumulative_share
    from points
)

select
    run_id,
    ablation,
    layer,
    head,
    n_neurons::integer as n_neurons,
    sum(cumulative_share.n)::bigint as n_rows,
    count(*) as n_clusters,
    tally_mean(cumulative_share) as cumulative_share,
    tally_standard_error(cumulative_share) as cumulative_share_se
from tallies
group by all
order by all

-- One row per run, ranking, ablation, chosen head and neuron: how often it is among the ten.
-- The share of the head's kept rows in which the neuron of the last MLP layer is among the ten most
-- repairing ones (section 4.2.2: at most 16 % for Pythia-160M L10H11, rows kept by mlp_repair).
-- direct_effect and direct_effect_change are means over those rows. Neurons that are never among
-- the ten have no row. Errors are by cluster; that of the share counts the clusters in
-- which the neuron is not among the ten.
with

clusters as (
    select
        run_id,
        ranking,
        ablation,
        layer,
        head,
        cluster,
        count(*) as n
    from most_repairing_neurons
    join position_clusters using (run_id, sequence, position)
    where run_id = $run_id
    group by all
),

heads as (
    select
        run_id,
        ranking,
        ablation,
        layer,
        head,
        sum(n)::bigint as n_rows,
        count(*) as n_clusters,
        sum(n * n) as n_squares
    from clusters
    group by all
),

listed as (
    select
        run_id,
        ranking,
        ablation,
        layer,
        head,
        cluster,
        unnest(neurons) as neuron,
        unnest(direct_effects) as direct_effect,
        unnest(direct_effects_ablated)::double - unnest(direct_effects) as direct_effect_change
    from most_repairing_neurons
    join position_clusters using (run_id, sequence, position)
    where run_id = $run_id
),

totals as (
    select
        run_id,
        ranking,
        ablation,
        layer,
        head,
        neuron,
        cluster,
        count(*) as n_among,
        tally(columns(['direct_effect', 'direct_effect_change'])) as "\0"
    from listed
    group by all
),

neurons as (
    select
        run_id,
        ranking,
        ablation,
        layer,
        head,
        neuron,
        sum(n_among)::bigint as n_rows_among,
        sum(n_among * n_among) as among_squares,
        sum(n_among * n) as products,
        tally_mean(columns(['direct_effect', 'direct_effect_change'])) as "\0",
        tally_standard_error(columns(['direct_effect', 'direct_effect_change'])) as "\0_se"
    from totals
    join clusters using (run_id, ranking, ablation, layer, head, cluster)
    group by all
)

select
    run_id,
    ranking,
    ablation,
    layer,
    head,
    neuron,
    n_rows,
    n_clusters,
    n_rows_among / n_rows as share_among_ten,
    sqrt(
        n_clusters / nullif(n_clusters - 1, 0)
        * greatest(
            0,
            among_squares - 2 * share_among_ten * products + share_among_ten ** 2 * n_squares
        )
    ) / n_rows as share_among_ten_se,
    n_rows_among,
    direct_effect,
    direct_effect_se,
    direct_effect_change,
    direct_effect_change_se
from neurons
join heads using (run_id, ranking, ablation, layer, head)
order by
    run_id,
    ranking,
    ablation,
    layer,
    head,
    share_among_ten desc,
    neuron

-- One row per run, ablation, ablated head and hundredth of the neurons: the cumulative share.
-- Over the head's top rows (by direct_effect): of the summed |change in direct effect| of the last
-- MLP layer's neurons, the mean share that the first n_neurons in order of repair have, for
-- n_neurons = round(i / 100 * d_mlp), i = 0 to 100 (appendix C). Rows in which no neuron changes
-- are left out. The error is clustered by sequence.
-- per: layer
with

sequences as (
    select
        run_id,
        ablation,
        layer,
        head,
        sequence,
        count(*) as n,
        summed_lists(list(cumulative_share)) as shares
    from neuron_repairs
    where run_id = $run_id
        and layer = $layer
        and absolute_change > 0
    group by
        run_id,
        ablation,
        layer,
        head,
        sequence
),

listed as (
    select
        run_id,
        ablation,
        layer,
        head,
        unnest(range(len(shares))) as hundredth,
        struct_pack(total := unnest(shares), n := n) as cumulative_share
    from sequences
)

select
    run_id,
    ablation,
    layer,
    head,
    hundredth::smallint as hundredth,
    round_even(hundredth / 100 * any_value(d_mlp), 0)::integer as n_neurons,
    sum(cumulative_share.n)::bigint as n_rows,
    count(*) as n_sequences,
    tally_mean(cumulative_share) as cumulative_share,
    tally_standard_error(cumulative_share) as cumulative_share_se
from listed
join runs using (run_id)
group by
    run_id,
    ablation,
    layer,
    head,
    hundredth
order by all

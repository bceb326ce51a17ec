-- One row per run, ablation, layer and set of rows: the mean over heads of the heads' means.
-- The sets are 'all' and 'top_by_direct_effect'; layer_summary has them side by side.
-- Heads of a layer are measured on the same sequences and are not independent, so that their
-- errors cannot be added in squares. A sequence g moves the layer's mean by
-- e_g = (1/H) * sum over the H heads h of (sum over i in g of (x_hi - mean_h)) / n_h
-- and `_se` is sqrt(G / (G - 1) * sum over g of e_g^2): the error of the mean of these heads over
-- other text, not over other heads. A head without rows is left out of the mean.
-- per: layer
with

totals as (
    select *
    from sequence_totals
    where run_id = $run_id
        and layer = $layer
),

tallies as (
    unpivot totals
    on columns(* exclude (run_id, ablation, layer, head, row_set, sequence, n_rows))
    into
        name quantity
        value tally
),

heads as (
    select
        run_id,
        ablation,
        layer,
        row_set,
        quantity,
        head,
        sum(tally.n) as n,
        tally_mean(tally) as mean
    from tallies
    group by all
    having sum(tally.n) > 0
),

sequences as (
    select
        run_id,
        ablation,
        layer,
        row_set,
        quantity,
        sequence,
        sum((tally.total - tally.n * mean) / n) as error
    from tallies
    join heads using (run_id, ablation, layer, row_set, quantity, head)
    where tally.n > 0
    group by all
),

errors as (
    select
        run_id,
        ablation,
        layer,
        row_set,
        quantity,
        sqrt(count(*) / nullif(count(*) - 1, 0) * sum(error ** 2)) as error
    from sequences
    group by all
),

means as (
    select
        run_id,
        ablation,
        layer,
        row_set,
        quantity,
        avg(mean) as mean,
        any_value(error) / count(*) as se
    from heads
    join errors using (run_id, ablation, layer, row_set, quantity)
    group by all
),

wide as (
    pivot means
    on quantity in (
        'direct_effect', 'direct_effect_ablated', 'logit_change', 'self_repair',
        'self_repair_from_heads', 'self_repair_from_mlps', 'self_repair_from_last_mlp',
        'self_repair_from_layernorm', 'layernorm_ratio', 'share_layernorm_ratio_above_one',
        'share_overcorrected', 'share_broken',
        'layernorm_fraction_clipped', 'heads_fraction_clipped', 'mlps_fraction_clipped',
        'layernorm_fraction_unclipped', 'heads_fraction_unclipped', 'mlps_fraction_unclipped'
    )
    using
        any_value(mean) as mean,
        any_value(se) as se
    group by
        run_id,
        ablation,
        layer,
        row_set
),

counts as (
    select
        run_id,
        ablation,
        layer,
        row_set,
        count(distinct head) as n_heads,
        sum(n_rows)::bigint as n_rows,
        count(distinct sequence) as n_sequences
    from totals
    group by all
)

select
    counts.*,
    columns('^(.*)_mean$') as "\1",
    columns('^(.*_se)$') as "\1"
from counts
join wide using (run_id, ablation, layer, row_set)

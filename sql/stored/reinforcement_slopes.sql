-- One row per run and head: the slope of the change in direct effect with the scale.
-- Both are least-squares lines through 0, where nothing is added, over all positions and scales
-- (section 5.3, appendix E: "proportional"). slope: of the gain, sign(d) * (after - d), on the
-- scale, so that every position counts alike. relative_slope: of after - d on scale * d, so that
-- positions count as the head acts on them; -0.1 means that its own output, added once, takes a
-- tenth of its direct effect. Errors are by cluster (reinforcement_clusters): for the residuals e
-- of a line on x, sqrt(G / (G - 1) * sum over clusters g of (sum over i in g of x_i e_i)^2) / sum
-- of x^2.
with

changes as (
    select
        run_id,
        layer,
        head,
        sequence,
        position,
        cluster,
        scale::double as scale,
        scale::double * direct_effect as scaled_effect,
        direct_effect_after::double - direct_effect as direct_effect_change,
        sign(direct_effect) * (direct_effect_after::double - direct_effect) as gain
    from self_reinforcement
    join reinforcement_clusters using (run_id, sequence, position)
    where run_id = $run_id
        and layer between $first_layer and $last_layer
),

clusters as (
    select
        run_id,
        layer,
        head,
        cluster,
        count(*) as n,
        count(distinct row(sequence, position)) as n_positions,
        sum(scale * gain) as gain_products,
        sum(scale * scale) as scale_squares,
        sum(scaled_effect * direct_effect_change) as change_products,
        sum(scaled_effect * scaled_effect) as effect_squares
    from changes
    group by all
)

select
    run_id,
    layer,
    head,
    sum(n)::bigint as n_rows,
    sum(n_positions)::bigint as n_tokens,
    count(*) as n_clusters,
    sum(gain_products) / nullif(sum(scale_squares), 0) as slope,
    sqrt(
        count(*) / nullif(count(*) - 1, 0) * count(*)
        * greatest(
            0,
            var_pop(gain_products)
            - 2 * slope * covar_pop(gain_products, scale_squares)
            + slope ** 2 * var_pop(scale_squares)
        )
    ) / nullif(sum(scale_squares), 0) as slope_se,
    sum(change_products) / nullif(sum(effect_squares), 0) as relative_slope,
    sqrt(
        count(*) / nullif(count(*) - 1, 0) * count(*)
        * greatest(
            0,
            var_pop(change_products)
            - 2 * relative_slope * covar_pop(change_products, effect_squares)
            + relative_slope ** 2 * var_pop(effect_squares)
        )
    ) / nullif(sum(effect_squares), 0) as relative_slope_se
from clusters
group by all
order by
    run_id,
    layer,
    head

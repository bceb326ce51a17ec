-- One value per group of clusters' tallies: the standard error of tally_mean.
-- By cluster (run_clusters), because tokens of one text are not independent:
-- sqrt(G / (G - 1) * sum over g of (sum over i in g of (x_i - mean))^2) / n
-- for the G clusters g that have rows, and n rows in all; null where G is 1.
-- A cluster's residual total - mean * n is 0 on average, so that the sum of squares is the number
-- of tallies times its variance: without a difference of large numbers, and without a second pass.
create macro tally_standard_error(t) as
    sqrt(
        count_if(t.n > 0) / nullif(count_if(t.n > 0) - 1, 0)
        * count(*)
        * greatest(
            0,
            var_pop(t.total)
            - 2 * tally_mean(t) * covar_pop(t.total, t.n)
            + tally_mean(t) ** 2 * var_pop(t.n)
        )
    ) / nullif(sum(t.n), 0)

-- One value per group of clusters: the standard error of the ratio a / b of two means.
-- The influences of a cluster on both give that on the ratio: (i_a - (a / b) * i_b) / b.
create macro ratio_error(influence_a, influence_b, a, b) as
    standard_error((influence_a - a / nullif(b, 0) * influence_b) / nullif(b, 0))

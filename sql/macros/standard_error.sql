-- One value per group of clusters: sqrt(G / (G - 1) * sum of influence^2), null where G is 1.
-- Clusters without a kept row count too: their influence says how they move the cut.
create macro standard_error(influence) as
    sqrt(count(influence) / nullif(count(influence) - 1, 0) * sum(influence ** 2))

-- One value per group of clusters' tallies: the mean over their rows; null where there are none.
create macro tally_mean(t) as
    sum(t.total) / nullif(sum(t.n), 0)

-- One value: how many of n values trimmed_mean leaves out at either side: a hundredth, rounded up.
-- At least one, so that no mean over few rows is made by a single token.
create macro n_trimmed_of(n) as
    greatest(1, ceil(n / 100)::bigint)

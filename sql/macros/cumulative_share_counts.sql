-- One list: the numbers of neurons at which the n_points of a cumulative_share were measured.
-- Of d_mlp neurons in order of repair: every hundredth, round(i / 100 * d_mlp), and each of the
-- last 50, once and ascending. A list of 101 points is one of an earlier version of the project,
-- which measured the hundredths alone, some more than once where d_mlp is below 100.
create macro cumulative_share_counts(d_mlp, n_points) as
    if(
        n_points = 101,
        hundredths_of(d_mlp),
        list_sort(list_distinct(
            hundredths_of(d_mlp) || range(greatest(0, d_mlp - 50), d_mlp + 1)
        ))
    )

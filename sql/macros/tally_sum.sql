-- One value per group of tallies: the tally of all their rows.
create macro tally_sum(t) as
    struct_pack(
        total := sum(t.total),
        n := sum(t.n)
    )

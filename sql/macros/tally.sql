-- One value per group: total and count of x, nulls left out.
-- What a cluster must keep of a quantity so that means and their clustered errors can be had.
create macro tally(x) as
    struct_pack(
        total := coalesce(sum(x::double), 0),
        n := count(x)
    )

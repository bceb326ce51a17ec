-- One row per kept row: of each head's N rows, the floor(fraction * N) that rank highest.
-- `candidates` is as in ranked_rows_of, which says which of equals are kept.
create macro top_rows_of(candidates, fraction) as table
    select * exclude (n_kept, reach)
    from ranked_rows_of(candidates, fraction)
    where rank <= n_kept

-- One value per cluster: how much the cluster moves a mean over rows, e_g / k.
-- t is the cluster's tally and of_head that of all the k rows; n_all and n_all_of_head count the
-- rows that were to be chosen from. With the quantity's mean at the cut, q, for rows selected as
-- the largest:
--     e_g = sum over kept rows i in g of (x_i - q) - (k / N) * N_g * (mean - q)
-- For given rows, which nothing selected, at_cut is null and q the mean itself, so that
--     e_g = sum over i in g of (x_i - mean)
create macro influence(t, of_head, at_cut, n_all, n_all_of_head) as
    (
        coalesce(t.total, 0)
        - coalesce(at_cut, of_head.total / of_head.n) * coalesce(t.n, 0)
        - n_all / n_all_of_head
        * (of_head.total - coalesce(at_cut, of_head.total / of_head.n) * of_head.n)
    ) / nullif(of_head.n, 0)

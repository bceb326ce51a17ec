-- One value per group: the mean of x without its n_trimmed largest and smallest values, nulls out.
-- n_trimmed is n_trimmed_of the number of values, a hundredth at either side. Null where nothing is
-- left. A mean that differs from it by much is made by a few rows.
create macro trimmed_mean(x, n_trimmed) as
    (sum(x) - list_sum(max(x, n_trimmed)) - list_sum(min(x, n_trimmed)))
    / nullif(greatest(count(x) - 2 * any_value(n_trimmed), 0), 0)

-- One row per run and head: is the head self-reinforcing, self-repressing or neither (section 5.3).
-- kind is by relative_slope, the share of its direct effect that the head gains per time its own
-- output is added to what it reads: above 0.01 and two standard errors it is self-reinforcing,
-- below minus both self-repressing. The shares are of positions, at the largest scale.
-- self_reinforcing_heads_at(minimum, n_errors) has other limits.
select *
from self_reinforcing_heads_at(0.01, 2)

-- One row per run and head: is the head self-reinforcing, self-repressing or neither (section 5.3).
-- kind is by relative_slope, the share of its direct effect that the head gains per time its own
-- output is added to what it reads: above 0.01 it is self-reinforcing, below -0.01 self-repressing,
-- where it can be told from 0 (adjusted_p < 0.05: Student's t over clusters, corrected for the
-- number of heads). Below ten clusters kind is null: two texts say nothing about others. The shares
-- are of positions, at the largest scale. self_reinforcing_heads_at(minimum, level) has other
-- limits.
select *
from self_reinforcing_heads_at(0.01, 0.05)

-- One row per given row of self_repair: the quantities whose means are taken, and other columns.
-- `repairs` names a table or a common table expression with the columns of self_repair. Of a yes or
-- no the mean is a share. A clipped fraction is cut to [0, 1] and leaves out 0/0; an unclipped one
-- leaves out every row whose direct effect is exactly 0, because one such row would make the mean
-- infinite.
create macro quantities_of(repairs) as table
select
    * exclude (overcorrected, broken, layernorm_fraction, heads_fraction, mlps_fraction),
    (layernorm_ratio > 1)::integer as share_layernorm_ratio_above_one,
    overcorrected::integer as share_overcorrected,
    broken::integer as share_broken,
    clipped(columns('^.*_fraction$')) as "\0_clipped",
    finite(columns('^.*_fraction$')) as "\0_unclipped"
from query_table(repairs)

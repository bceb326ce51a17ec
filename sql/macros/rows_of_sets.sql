-- One row per set of rows and row in it: the columns of self_repair, of all rows and of top rows.
-- The sets are 'all' and 'top_by_direct_effect'. All rows are read: name the run and the layer.
create macro rows_of_sets() as table
select
    'all' as row_set,
    *
from self_repair
union all by name
select
    'top_by_direct_effect' as row_set,
    * exclude (rank)
from top_by_direct_effect

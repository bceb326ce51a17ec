-- One row per head or layer that `means` has: its means over all rows, named so.
-- `means` names head_means or layer_means. direct_effect becomes direct_effect_all, and
-- direct_effect_se direct_effect_all_se; whose mean it is keeps its name.
create macro over_all_rows_of(means) as table
select
    columns(lambda name: name in ('run_id', 'ablation', 'layer', 'head', 'n_heads')),
    n_rows as n_rows_all,
    n_clusters as n_clusters_all,
    columns('^(.*)_se$') as "\1_all_se",
    columns(
        lambda name: name not in (
            'run_id', 'ablation', 'layer', 'head', 'row_set', 'n_heads', 'n_rows', 'n_clusters'
        )
        and not suffix(name, '_se')
    ) as "\0_all"
from query_table(means)
where row_set = 'all'

-- One row per positions left out (0, 1 or 4), run, ablation, head and set of rows: the means.
-- What macro head_means_without_first(numbers) says for [0, 1, 4], which has any other number;
-- view head_means_by_positions gives them names.
select *
from head_means_without_first([0, 1, 4])
where run_id = $run_id
    and layer between $first_layer and $last_layer
order by
    run_id,
    ablation,
    layer,
    head,
    row_set,
    positions_left_out

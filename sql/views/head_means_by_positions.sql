-- One row per run, ablation, head, set of rows and set of positions: means with and without some.
-- positions is 'all'; 'without_bos', where the run's sequences begin with BOS: without position 0;
-- and 'without_sinks': without the first 4, where attention sinks are. Another number of them:
-- head_means_without_first([number]). row_set is 'all' or 'top_by_direct_effect'; the top rows are
-- not chosen anew.
select
    run_id,
    ablation,
    layer,
    head,
    head_name(layer, head) as name,
    row_set,
    case positions_left_out
        when 0 then 'all'
        when 1 then 'without_bos'
        else 'without_sinks'
    end as positions,
    positions_left_out,
    direct_effect,
    direct_effect_se,
    direct_effect_removed,
    direct_effect_removed_se,
    logit_change,
    logit_change_se,
    self_repair,
    self_repair_se,
    self_repair_from_layernorm,
    self_repair_from_layernorm_se,
    n_rows,
    n_clusters
from head_means_by_positions_left_out
join sequence_starts using (run_id)
where positions_left_out <> 1
    or begins_with_bos

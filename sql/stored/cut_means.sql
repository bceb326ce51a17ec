-- One row per run, ablation and head: what a row is like just where its top rows end.
-- cut_means_at with the run's own top_fraction, for the errors of the means over top rows.
select
    'top_by_direct_effect' as row_set,
    *
from cut_means_at($top_fraction)
where run_id = $run_id
    and layer between $first_layer and $last_layer

-- One row per run and head: view self_reinforcing_heads for other limits.
-- A head is self-reinforcing where relative_slope is above minimum and above n_errors of its
-- standard errors, self-repressing where the same holds of -relative_slope, else neither.
create macro self_reinforcing_heads_at(minimum, n_errors) as table
with

at_largest_scale as (
    select
        run_id,
        layer,
        head,
        scale,
        share_reinforced,
        share_reinforced_se,
        share_repressed,
        share_repressed_se
    from reinforcement_means
    qualify row_number() over (
        partition by
            run_id,
            layer,
            head
        order by scale desc
    ) = 1
)

select
    reinforcement_slopes.* exclude (n_rows),
    case
        when relative_slope > greatest(minimum, n_errors * relative_slope_se)
            then 'self-reinforcing'
        when -relative_slope > greatest(minimum, n_errors * relative_slope_se)
            then 'self-repressing'
        else 'neither'
    end as kind,
    scale as largest_scale,
    share_reinforced,
    share_reinforced_se,
    share_repressed,
    share_repressed_se
from reinforcement_slopes
join at_largest_scale using (run_id, layer, head)

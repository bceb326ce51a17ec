-- One row per run and head: view self_reinforcing_heads for other limits.
-- A head is self-reinforcing where relative_slope is above minimum and can be told from 0,
-- self-repressing where the same holds of -relative_slope, else neither; null below ten clusters.
-- "Can be told from 0": adjusted_p, Student's t over clusters corrected for the number of heads, is
-- below level.
create macro self_reinforcing_heads_at(minimum, level) as table
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
),

tests as (
    select
        *,
        run_id as family,
        case
            when n_clusters >= 10
                then student_p(relative_slope, relative_slope_se, n_clusters)
        end as p_value
    from reinforcement_slopes
),

tested as (
    select * exclude (family, p_value)
    from adjusted_p('tests')
)

select
    run_id,
    layer,
    head,
    head_name(layer, head) as name,
    tested.* exclude (run_id, layer, head, n_rows, adjusted_p),
    adjusted_p,
    case
        when adjusted_p is null then null
        when adjusted_p < level and relative_slope > minimum then 'self-reinforcing'
        when adjusted_p < level and -relative_slope > minimum then 'self-repressing'
        else 'neither'
    end as kind,
    scale as largest_scale,
    share_reinforced,
    share_reinforced_se,
    share_repressed,
    share_repressed_se
from tested
join at_largest_scale using (run_id, layer, head)

-- One row per run, ablation, head and set of rows: how noisy self-repair is from token to token.
-- The sets are 'all' and 'top_by_direct_effect'. correlation and slope are those of logit_change
-- (y) on direct_effect (x); a head that is not repaired at all has -1 and -1 (section 2.3, Fig. 3).
-- per: layer
with

everything as (
    select
        run_id,
        ablation,
        layer,
        head,
        logit_change,
        direct_effect,
        self_repaired(logit_change, direct_effect, direct_effect_ablated)::float as self_repair
    from head_ablations
    where run_id = $run_id
        and layer = $layer
),

kept as (
    select *
    from top_by_direct_effect
    where run_id = $run_id
        and layer = $layer
),

rows_of_sets as (
    select
        'all' as row_set,
        *
    from everything
    union all by name
    select
        'top_by_direct_effect' as row_set,
        *
    from kept
),

sequences as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        stddev_samp(self_repair.total / n_rows) as self_repair_sequence_sd
    from sequence_totals
    where run_id = $run_id
        and layer = $layer
    group by all
),

noise as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        count(*) as n_rows,
        case
            when count(*) > 1
                and var_pop(direct_effect) > 0
                and var_pop(logit_change) > 0
                then corr(logit_change, direct_effect)
        end as correlation,
        case
            when count(*) > 1
                and var_pop(direct_effect) > 0
                then regr_slope(logit_change, direct_effect)
        end as slope,
        stddev_samp(self_repair) as self_repair_sd,
        quantile_cont(self_repair, [0.05, 0.25, 0.5, 0.75, 0.95]) as quantiles
    from rows_of_sets
    group by
        run_id,
        ablation,
        layer,
        head,
        row_set
)

select
    noise.* exclude (quantiles),
    self_repair_sequence_sd,
    quantiles[1] as self_repair_p05,
    quantiles[2] as self_repair_p25,
    quantiles[3] as self_repair_p50,
    quantiles[4] as self_repair_p75,
    quantiles[5] as self_repair_p95
from noise
join sequences using (run_id, ablation, layer, head, row_set)

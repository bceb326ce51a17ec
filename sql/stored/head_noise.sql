-- One row per run, ablation, head and set of rows: how noisy self-repair is from token to token.
-- The sets are 'all' and 'top_by_direct_effect'. correlation and slope are those of logit_change
-- (y) on direct_effect (x); a head that is not repaired at all has -1 and -1 (section 2.3, Fig. 3).
-- Errors are by cluster, from the influence of a row:
--     slope        (x - mx) * (y - my - slope * (x - mx)) / var(x)
--     correlation  zx * zy - correlation * (zx^2 + zy^2) / 2, z being (x - mx) / sd(x)
--     quantile q   (p - (x <= q)) / f, with the density f from the quantiles around q
-- The spread of self_repair is split, by an analysis of variance of documents, the sequences in
-- them and the tokens in these (Henderson's method 1): a component that comes out negative is 0,
-- one that cannot be told apart from the next is null.
with

texts as (
    select
        run_id,
        sequence,
        position,
        document,
        cluster
    from tokens
    join position_clusters using (run_id, sequence, position)
    where run_id = $run_id
),

-- Read three times, and not kept: a layer's rows are more than memory should hold.
row_sets as not materialized (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        document,
        sequence,
        cluster,
        logit_change::double as y,
        direct_effect::double as x,
        self_repair
    from rows_of_sets()
    join texts using (run_id, sequence, position)
    where run_id = $run_id
        and layer between $first_layer and $last_layer
        and head between $first_head and $last_head
),

moments as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        count(*) as n_rows,
        avg(x) as mean_x,
        avg(y) as mean_y,
        var_pop(x) as var_x,
        var_pop(y) as var_y,
        covar_pop(x, y) as cov,
        stddev_samp(self_repair) as self_repair_sd,
        quantile_cont(
            self_repair::double,
            [0.02, 0.05, 0.08, 0.2, 0.25, 0.3, 0.45, 0.5, 0.55, 0.7, 0.75, 0.8, 0.92, 0.95, 0.98]
        ) as q
    from row_sets
    group by all
),

clusters as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        cluster,
        any_value(moments) as m,
        sum(
            (x - mean_x) * (y - mean_y - cov / nullif(var_x, 0) * (x - mean_x))
        ) / nullif(any_value(var_x * n_rows), 0) as slope,
        sum(
            (x - mean_x) * (y - mean_y) / nullif(sqrt(var_x * var_y), 0)
            - cov / nullif(sqrt(var_x * var_y), 0)
            * ((x - mean_x) ** 2 / var_x + (y - mean_y) ** 2 / var_y) / 2
        ) / any_value(n_rows) as correlation,
        sum(0.05 - (self_repair <= q[2])::integer) / any_value(n_rows) as p05,
        sum(0.25 - (self_repair <= q[5])::integer) / any_value(n_rows) as p25,
        sum(0.5 - (self_repair <= q[8])::integer) / any_value(n_rows) as p50,
        sum(0.75 - (self_repair <= q[11])::integer) / any_value(n_rows) as p75,
        sum(0.95 - (self_repair <= q[14])::integer) / any_value(n_rows) as p95
    from row_sets
    join moments using (run_id, ablation, layer, head, row_set)
    group by all
),

errors as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        standard_error(slope) as slope_se,
        standard_error(correlation) as correlation_se,
        standard_error(p05) * any_value(m.q[3] - m.q[1]) / 0.06 as self_repair_p05_se,
        standard_error(p25) * any_value(m.q[6] - m.q[4]) / 0.1 as self_repair_p25_se,
        standard_error(p50) * any_value(m.q[9] - m.q[7]) / 0.1 as self_repair_p50_se,
        standard_error(p75) * any_value(m.q[12] - m.q[10]) / 0.1 as self_repair_p75_se,
        standard_error(p95) * any_value(m.q[15] - m.q[13]) / 0.06 as self_repair_p95_se
    from clusters
    group by all
),

-- A cell is what a sequence holds of a document; of a run without documents, a sequence.
cells as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        document,
        sequence,
        count(*) as n,
        avg(self_repair::double) as cell_mean,
        var_pop(self_repair::double) * count(*) as cell_squares
    from row_sets
    group by all
),

documents_of_heads as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        document,
        sum(n)::double as size,
        count(*) as n_cells_here,
        sum(n * cell_mean) / sum(n) as mean,
        sum(cell_squares) as squares,
        sum(n * cell_mean ** 2) - sum(n * cell_mean) ** 2 / sum(n) as squares_between,
        sum(n * n)::double as size_squares
    from cells
    group by all
),

sums as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        sum(size) as n,
        sum(n_cells_here) as n_cells,
        count(*) as n_documents,
        sum(squares) / nullif(sum(size) - sum(n_cells_here), 0) as token_variance,
        sum(squares_between) as squares_of_sequences,
        sum(size * mean ** 2) - sum(size * mean) ** 2 / sum(size) as squares_of_documents,
        sum(size_squares / size) as within,
        sum(size_squares) / sum(size) as over_all,
        sum(size * size) / sum(size) as between_documents
    from documents_of_heads
    group by all
),

components as (
    select
        run_id,
        ablation,
        layer,
        head,
        row_set,
        token_variance,
        case
            when n_cells > n_documents
                then greatest(
                    0,
                    (squares_of_sequences - (n_cells - n_documents) * token_variance)
                    / nullif(n - within, 0)
                )
        end as sequence_variance,
        case
            when n_documents > 1
                then greatest(
                    0,
                    (
                        squares_of_documents
                        - (n_documents - 1) * token_variance
                        - (within - over_all) * coalesce(sequence_variance, 0)
                    ) / nullif(n - between_documents, 0)
                )
        end as document_variance
    from sums
)

select
    run_id,
    ablation,
    layer,
    head,
    row_set,
    n_rows,
    cov / nullif(sqrt(var_x * var_y), 0) as correlation,
    correlation_se,
    cov / nullif(var_x, 0) as slope,
    slope_se,
    self_repair_sd,
    sqrt(document_variance) as self_repair_document_sd,
    sqrt(sequence_variance) as self_repair_sequence_sd,
    sqrt(token_variance) as self_repair_token_sd,
    q[2] as self_repair_p05,
    self_repair_p05_se,
    q[5] as self_repair_p25,
    self_repair_p25_se,
    q[8] as self_repair_p50,
    self_repair_p50_se,
    q[11] as self_repair_p75,
    self_repair_p75_se,
    q[14] as self_repair_p95,
    self_repair_p95_se
from moments
join errors using (run_id, ablation, layer, head, row_set)
join components using (run_id, ablation, layer, head, row_set)

-- One row per run of a model of the paper, head and quantity: the run's mean beside the authors'.
-- The run's resample ablation on the head's top rows, where its top_fraction is the authors', and
-- its model's name, without an organisation, is theirs. difference_in_errors is value - paper_value
-- in standard errors of the run alone. The authors published none: theirs is about the run's times
-- sqrt(n_tokens / their tokens), one million (100,000 for some), so that on as many tokens a spread
-- of sqrt(2) = 1.4 is expected, on few tokens one of 1. Text differs: compare the corpus.
with

authors as (
    unpivot (
        select
            lower(split_part(model, '/', -1)) as model_name,
            * exclude (model)
        from paper_head_summary
    )
    on columns(* exclude (model_name, top_fraction, layer, head))
    into
        name quantity
        value paper_value
),

models as (
    select
        run_id,
        lower(split_part(model, '/', -1)) as model_name,
        top_fraction
    from runs
),

heads as (
    unpivot (
        select *
        from head_summary
        where ablation = 'resample'
    )
    on
        (direct_effect, direct_effect_se) as 'direct_effect',
        (direct_effect_ablated, direct_effect_ablated_se) as 'direct_effect_ablated',
        (logit_change, logit_change_se) as 'logit_change',
        (self_repair_from_heads, self_repair_from_heads_se) as 'self_repair_from_heads',
        (self_repair_from_mlps, self_repair_from_mlps_se) as 'self_repair_from_mlps',
        (self_repair_from_layernorm, self_repair_from_layernorm_se)
            as 'self_repair_from_layernorm',
        (layernorm_fraction_clipped, layernorm_fraction_clipped_se)
            as 'layernorm_fraction_clipped',
        (heads_fraction_clipped, heads_fraction_clipped_se) as 'heads_fraction_clipped',
        (mlps_fraction_clipped, mlps_fraction_clipped_se) as 'mlps_fraction_clipped'
    into
        name quantity
        value value, value_se
)

select
    run_id,
    layer,
    head,
    head_name(layer, head) as name,
    quantity,
    paper_value,
    value,
    value_se,
    value - paper_value as difference,
    difference / nullif(value_se, 0) as difference_in_errors,
    n_rows
from heads
join models using (run_id)
join authors using (model_name, quantity, layer, head)
where abs(authors.top_fraction - models.top_fraction) < 1e-9

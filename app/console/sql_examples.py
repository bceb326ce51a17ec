"""Statements to begin with, on the SQL page."""

EXAMPLES = {
    "the most self-repaired heads": """select
    run_id,
    ablation,
    name,
    self_repair,
    self_repair_se,
    direct_effect
from head_summary
order by self_repair desc
limit 20""",
    "LayerNorm's share, by layer": """select
    run_id,
    ablation,
    layer,
    layernorm_fraction_clipped,
    layernorm_fraction_clipped_se
from layer_summary
order by all""",
    "the targets that one head helps most": """select
    target_text,
    count(*) as n,
    avg(direct_effect) as direct_effect,
    avg(self_repair) as self_repair
from top_by_direct_effect
join tokens using (run_id, sequence, position)
where (run_id, layer, head) = (
    select (run_id, layer, head)
    from head_summary
    order by direct_effect desc
    limit 1
)
group by target_text
order by n desc
limit 30""",
    "who repairs the most repaired heads": """select
    name as ablated,
    component_name as repairer,
    direct_effect_change,
    direct_effect_change_se
from component_repairs
order by direct_effect_change desc
limit 30""",
    "who repaired one token": """select
    component_name,
    direct_effect_change
from token_repairers
where (run_id, ablation, layer, head, sequence, position) = (
    select (run_id, ablation, layer, head, sequence, position)
    from top_by_direct_effect
    order by self_repair desc
    limit 1
)
order by direct_effect_change desc""",
    "neurons that repair often": """select
    head_name(layer, head) as ablated,
    neuron,
    share_among_ten,
    direct_effect,
    direct_effect_change
from neuron_frequency
where ranking = 'mlp_repair'
order by share_among_ten desc
limit 30""",
    "top 5 % instead of 2 %": """select
    run_id,
    layer,
    head,
    n_rows,
    self_repair
from head_summary_at(0.05)
where layer = (select max(layer) from head_summary)
order by all""",
    "what there is": """select
    table_name,
    column_name,
    data_type,
    comment
from duckdb_columns()
where not internal and not ends_with(table_name, '_inside')""",
}

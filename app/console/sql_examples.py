"""Statements to begin with, on the SQL page."""

EXAMPLES = {
    "the most self-repaired heads": """select
    run_id,
    ablation,
    format('L{}H{}', layer, head) as name,
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
where not internal""",
}

"""The dataset card of an export: what was measured, how, of what, and what each column means.

Its first lines are the settings that dataset hubs read; the rest is for people.
"""

from __future__ import annotations

import json

import duckdb

from selfrepair.exchange.layout import DATABASE, SUMS
from selfrepair.warehouse.facts.tables import fact_tables

LICENCES = {
    "python-docs": "Python's own documentation: PSF License Version 2",
    "pile": "The Pile: see the data set's own page",
}
METHOD = """\
One attention head at a time is ablated, and the rest of the model runs on: of every token, the
warehouse has the head's direct effect on the target's logit, what the ablation took away of it, the
logit's change, and how much of the difference later heads, MLP layers and the final norm made up
for (self-repair). After Rushing & Nanda, *Explorations of Self-Repair in Language Models*
([arXiv 2402.15390](https://arxiv.org/abs/2402.15390)); every way in which a figure differs from the
paper's is in the view `figure_notes`."""


def card(connection: duckdb.DuckDBPyConnection, run_id: str) -> str:
    """The card of a run, from its published file."""
    row = connection.execute("from runs where run_id = ?", [run_id])
    names = [column[0] for column in row.description or []]
    settings = dict(zip(names, row.fetchone() or [], strict=True))
    meanings = _meanings(connection, "runs")
    settings_lines = [
        f"| `{name}` | {_cell(value)} | {_cell(meanings.get(name, ''))} |"
        for name, value in settings.items()
        if value is not None
    ]
    parts = [
        _front_matter(),
        f"# Self-repair of {_cell(run_id)}",
        METHOD,
        "## Use it",
        "```sql\n"
        f"attach 'https://…/{DATABASE}' as measured (read_only);\n"
        "from measured.head_summary order by self_repair desc limit 10;\n```",
        f"```console\n$ sha256sum --check {SUMS}\n$ selfrepair import .\n```",
        f"`{DATABASE}` has everything: tables, views for every figure, and a comment on each "
        "column. The Parquet files have what was measured, the rows of each sorted by ablation, "
        "layer and head, so that one head is found by the footers.",
        "## Settings",
        "\n".join(["| setting | value | meaning |", "| --- | --- | --- |", *settings_lines]),
        "## Licences",
        "The text of the tokens has the licence of its corpus ("
        f"{_cell(LICENCES.get(str(settings['corpus']), settings['corpus']))}), the numbers "
        f"are measured of the model {_cell(settings['model'])}, whose licence may say what may be "
        "done with them. The software is Apache 2.0.",
        "## Columns",
        *(_table(connection, table) for table in fact_tables()),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter() -> str:
    """What hubs read: each table is a part of the data set with a viewer of its own."""
    configs = "".join(
        f"- config_name: {table}\n  data_files: facts/{table}/*.parquet\n"
        + ("  default: true\n" if table == "head_ablations" else "")
        for table in fact_tables()
    )
    tags = "tags:\n- interpretability\n- self-repair\n- duckdb\n"
    return f"---\nlicense: other\n{tags}configs:\n{configs}---"


def _table(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    said = connection.execute(
        "select comment from duckdb_tables() where table_name = ?", [table]
    ).fetchone()
    columns = [
        f"| `{name}` | {_cell(said)} |" for name, said in _meanings(connection, table).items()
    ]
    about = str(said[0] if said else "")
    return "\n".join(
        [f"### {table}\n\n{about}\n", "| column | meaning |", "| --- | --- |", *columns]
    )


def _meanings(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    rows = connection.execute(
        "select column_name, comment from duckdb_columns() where table_name = ?"
        " order by column_index",
        [table],
    ).fetchall()
    return {name: comment or "" for name, comment in rows}


def _cell(value: object) -> str:
    """A value in a table's cell, whatever characters it has."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    for mark in "\\`*_<>|[]#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())

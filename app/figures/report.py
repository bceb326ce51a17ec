"""One self-contained HTML file with every figure of a run, for a colleague without the warehouse.

The figures are those of the app (`figures.py`), drawn from the same queries, or tables of rows.
Plotly's script is written into the file once, so that it opens without a network.
"""

import datetime
from html import escape
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from selfrepair.app.figures import figures
from selfrepair.app.figures.drawn import Look
from selfrepair.app.figures.paper_claims import PAPER, head_of
from selfrepair.app.figures.report_output import refuse_output, write_output
from selfrepair.app.questions import run_questions
from selfrepair.app.questions.queries import Serving, lacking, relations, serving
from selfrepair.app.wording import words
from selfrepair.app.wording.headline import Headline, all_kinds, headline
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.ablations import in_order

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.55 system-ui, sans-serif; color: #2b2b2b; margin: 2rem auto; max-width: 1080px;
       padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.15rem; margin: 2.6rem 0 0.2rem; }
.says { color: #5c5f66; margin: 0.2rem 0; }
table { border-collapse: collapse; } td { padding: 0.15rem 0.9rem 0.15rem 0; vertical-align: top; }
.settings td + td + td { color: #5c5f66; }
.rows { max-height: 24rem; overflow: auto; font-size: 0.85rem; }
.rows th { text-align: left; padding-right: 0.9rem; position: sticky; top: 0; background: #fff; }
pre { background: #f6f6f5; padding: 0.8rem; overflow-x: auto; font-size: 0.85rem; }
summary { cursor: pointer; color: #3b63d8; }
"""

MOST_ROWS = 300  # of a figure that is a table


def write_report(warehouse: Warehouse, run_id: str, output: Path | str) -> None:
    """Writes the report of one published run; a file has its name only when it is whole.

    output: a file, a pipe, or `-` for what is printed (`report_output.py`).

    The ablation is the run's first in the order of `ABLATIONS`, and the head, where a figure is of
    one head, the one with most self-repair (the paper's own head where the run has it).
    Raises WarehouseError where nothing is published, or not this run, or the file cannot be made.
    """
    refuse_output(str(output), warehouse)
    now = serving(str(warehouse.root))
    if now is None:
        raise WarehouseError(
            f"nothing is published in {warehouse.root} yet: run `selfrepair run MODEL` first"
        )
    runs = run_questions.runs(now).frame.set_index("run_id")
    if run_id not in runs.index:
        raise WarehouseError(
            f"{run_id} is not published; there are: {', '.join(runs.index) or 'no runs'}"
        )
    text = _document(now, run_id, runs.loc[run_id, "ablations"].split(", "))
    write_output(str(output), text, warehouse)


def _document(now: Serving, run: str, ablations: list[str]) -> str:
    ablation = in_order(ablations)[0]
    known = run_questions.figures(now).frame
    parts: list[str] = []
    for row in known.to_dict("records"):
        number, view = str(row["figure"]), str(row["view"])
        if lacking(now, view):
            continue
        if number in figures.DRAWN_BY:
            drawn = figures.DRAWN_BY[number](now, number, _look(now, number, run, ablation))
            answer, caption = drawn.answer, drawn.caption
            shown = _figure_html(drawn.figure)
        else:
            answer = run_questions.rows_of(now, view, run, MOST_ROWS)
            caption = f"The first {len(answer.frame)} rows of {view}."
            shown = _table_html(answer.frame.drop(columns="run_id"))
        if len(answer.frame):
            title = f"{words.figure(number)}: {row['title']}"
            note = str(row["note"]) if pd.notna(row["note"]) else None
            about = (PAPER.get(number), note, relations(now)[view], answer.sql)
            parts.append(_section(title, caption, shown, *about))
    when = datetime.datetime.now(datetime.UTC)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>Self-repair of {escape(run)}</title><style>{STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head><body>"
        f"<h1>Self-repair of {escape(run)}</h1>"
        f'<p class="says">Generation {now.number} of the warehouse, {ablation} ablation, written '
        f"{when:%Y-%m-%d}. After Rushing &amp; Nanda, <i>Explorations of Self-Repair in Language "
        "Models</i>, arXiv 2402.15390.</p>"
        + _headline(headline(now, run, ablation))
        + f"<details><summary>Settings of the run</summary>{_settings(now, run)}</details>"
        + "".join(parts)
        + "</body></html>"
    )


def _headline(told: Headline) -> str:
    """The run's headline numbers, each with what it is over, and what errors rest on."""
    rows = "".join(
        f"<tr><td>{escape(tile.label)}</td><td><b>{escape(tile.value)}</b></td>"
        f"<td>{escape(tile.note)}</td></tr>"
        for tile in told.tiles
    )
    return (
        f'<table class="settings">{rows}</table>'
        f'<p class="says">{escape(all_kinds(told.numbers, told.among))}</p>'
        f'<p class="says">Text: {escape(told.among.text)}; {escape(told.among.errors)}. A head is '
        "not removed where the ablation removes less than half of its direct effect: a small "
        "logit change shows no repair there.</p>"
    )


def _look(now: Serving, number: str, run: str, ablation: str) -> Look:
    """The paper's own head where the run measured it, else the most self-repaired one."""
    rows = run_questions.heads(now, run, ablation).frame
    only = figures.heads_of(now, number, run, ablation)
    if only:
        rows = rows[rows["name"].isin(only)]
    there = rows[rows["name"] == head_of(number, run)]
    best = there if len(there) else rows.sort_values("self_repair", ascending=False)
    if best.empty:
        return Look(run, ablation, 0, 0)
    return Look(run, ablation, int(best["layer"].iloc[0]), int(best["head"].iloc[0]))


def _section(
    title: str,
    caption: str,
    shown: str,
    claim: str | None,
    note: str | None,
    documentation: str,
    sql: str,
) -> str:
    return (
        f"<section><h2>{escape(title)}</h2>"
        + f'<p class="says">{escape(caption)}</p>'
        + shown
        + (f'<p class="says"><b>The paper:</b> {escape(claim)}</p>' if claim else "")
        + (f'<p class="says"><b>Differs here:</b> {escape(note)}</p>' if note else "")
        + f"<details><summary>What it is, and the SQL</summary><p>{escape(documentation)}</p>"
        + f"<pre>{escape(sql)}</pre></details></section>"
    )


def _figure_html(figure: go.Figure) -> str:
    figure.update_layout(template="plotly_white", autosize=True)
    return str(
        figure.to_html(
            full_html=False,
            include_plotlyjs=False,
            config={"displaylogo": False, "responsive": True},
        )
    )


def _table_html(frame: pd.DataFrame) -> str:
    """Rows as they are read, in a box that scrolls."""

    def cell(column: str, value: object) -> str:
        if isinstance(value, float):
            text = words.share(value) if column.startswith("share") else words.number(value)
        else:
            text = str(value)
        return f"<td>{escape(text)}</td>"

    head = "".join(f"<th>{escape(words.name(column))}</th>" for column in frame)
    rows = "".join(
        "<tr>" + "".join(cell(*pair) for pair in zip(frame, row, strict=True)) + "</tr>"
        for row in frame.itertuples(index=False)
    )
    return f'<div class="rows"><table><tr>{head}</tr>{rows}</table></div>'


def _settings(now: Serving, run: str) -> str:
    rows = run_questions.settings(now, run).frame
    return (
        '<table class="settings">'
        + "".join(
            f"<tr><td>{escape(words.name(name))}</td><td>{escape(value)}</td>"
            f"<td>{escape(run_questions.meaning_of_setting(now, name))}</td></tr>"
            for name, value in zip(rows["setting"], rows["value"], strict=True)
        )
        + "</table>"
    )

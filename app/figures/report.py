"""One self-contained HTML file with every figure of a run, for a colleague without the warehouse.

The figures are those of the app (`registry.py`), drawn from the same queries, or tables of rows;
the page is `report.html.jinja`, which escapes all that it is given but Plotly's own charts.
Plotly's script is written into the file once, so that it opens without a network.
"""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from selfrepair.app.figures import registry
from selfrepair.app.figures.report_output import refuse_output, write_output
from selfrepair.app.questions import queries, run_questions
from selfrepair.app.questions.queries import lacking, relations
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import words
from selfrepair.app.wording.headline import all_kinds, headline
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.ablations import in_order

MOST_ROWS = 300  # of a figure that is a table


def write_report(warehouse: Warehouse, run_id: str, output: Path | str) -> None:
    """Writes the report of one published run; a file has its name only when it is whole.

    output: a file, a pipe, or `-` for what is printed (`report_output.py`).

    The ablation is the run's first in the order of `ABLATIONS`, and the head, where a figure is of
    one head, the one with most self-repair (the paper's own head where the run has it).
    Raises WarehouseError where nothing is published, or not this run, or the file cannot be made.
    """
    refuse_output(str(output), warehouse)
    generation = queries.newest_generation(str(warehouse.root))
    if generation is None:
        raise WarehouseError(
            f"nothing is published in {warehouse.root} yet: run `selfrepair run MODEL` first"
        )
    runs = run_questions.runs(generation).frame.set_index("run_id")
    if run_id not in runs.index:
        raise WarehouseError(
            f"{run_id} is not published; there are: {', '.join(runs.index) or 'no runs'}"
        )
    ablations = runs.loc[run_id, "ablations"].split(", ")
    ablation = in_order(ablations)[0]
    write_output(str(output), _html(Subject(generation, run_id, ablation)), warehouse)


def _html(subject: Subject) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("selfrepair.app", "figures"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    numbers = headline(subject)
    return environment.get_template("report.html.jinja").render(
        run=subject.run,
        ablation=subject.ablation,
        generation=subject.generation.number,
        written=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        plotly=get_plotlyjs(),
        headline=numbers,
        kinds=all_kinds(numbers.numbers, numbers.among),
        settings=_settings(subject),
        figures=_figures(subject),
    )


def _figures(subject: Subject) -> Iterator[dict[str, Any]]:
    """What the page shows of each figure that the run has rows of."""
    for name, entry in registry.entries(subject.generation).items():
        if lacking(subject.generation, entry.view):
            continue
        if name in registry.FIGURES:
            drawn = registry.draw(name, registry.with_head(name, subject))
            answer, caption = drawn.answer, drawn.caption
            shown: dict[str, Any] = {"chart": _chart_html(drawn.chart)}
        else:
            answer = run_questions.rows_of(subject, entry.view, MOST_ROWS)
            caption = f"The first {len(answer.frame)} rows of {entry.view}."
            shown = {"chart": ""} | _table(answer.frame.drop(columns="run_id"))
        if len(answer.frame):
            yield shown | {
                "heading": entry.heading,
                "caption": caption,
                "claim": entry.claim,
                "note": entry.note,
                "documentation": relations(subject.generation)[entry.view],
                "sql": answer.sql,
            }


def _chart_html(chart: go.Figure) -> str:
    chart.update_layout(template="plotly_white", autosize=True)
    return str(
        chart.to_html(
            full_html=False,
            include_plotlyjs=False,
            config={"displaylogo": False, "responsive": True},
        )
    )


def _table(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Rows as they are read, below their columns' names."""

    def cell(column: str, value: object) -> str:
        if isinstance(value, float):
            return words.share(value) if column.startswith("share") else words.number(value)
        return str(value)

    return {
        "columns": [words.name(column) for column in frame],
        "rows": [
            [cell(*pair) for pair in zip(frame, row, strict=True)]
            for row in frame.itertuples(index=False)
        ],
    }


def _settings(subject: Subject) -> list[tuple[str, str, str]]:
    """Each setting of the run, its value, and what it means."""
    rows = run_questions.settings(subject).frame
    return [
        (words.name(name), value, run_questions.meaning_of_setting(subject.generation, name))
        for name, value in zip(rows["setting"], rows["value"], strict=True)
    ]

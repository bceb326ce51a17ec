"""A figure for a paper: its name as a file, its caption, the Python that draws it, SVG and PDF."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from selfrepair.app.charts.detail_charts import any_columns
from selfrepair.app.figures import registry
from selfrepair.app.questions import kind_questions
from selfrepair.app.questions.queries import Generation
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import kinds, words
from selfrepair.paper.page import printed
from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.paths import written_whole

LONGEST = 120  # characters of a file's name


@dataclass(frozen=True)
class PaperFigure:
    """One chart of one subject at the width of one column or of two.

    name: that of its files, without an ending. caption: what it shows, of how much, measured how.
    python: draws it from the warehouse once more.
    """

    name: str
    caption: str
    python: str
    chart: go.Figure
    width: str

    def files(self) -> dict[str, bytes]:
        """The figure as `svg` and `pdf`, and its caption and Python as `txt` and `py`."""
        return {
            **printed(self.chart, self.width, self.caption),
            "txt": f"{self.caption}\n".encode(),
            "py": self.python.encode(),
        }

    def save(self, folder: Path | str) -> list[Path]:
        """Writes the files into a folder, which is made; files of these names are replaced, whole.

        Raises WarehouseError where they cannot be written.
        """
        if not str(folder).strip():
            raise WarehouseError("--output is empty: name the folder of the figure's files")
        made = self.files()  # before anything is written
        there = Path(folder).expanduser()
        paths = [there / f"{self.name}.{kind}" for kind in made]
        with one_clear_line(f"write {there}"):
            there.mkdir(exist_ok=True)
            for path, content in zip(paths, made.values(), strict=True):
                with written_whole(path) as temporary:
                    temporary.write_bytes(content)
        return paths


def for_paper(name: str, subject: Subject, width: str, options: Mapping[str, Any]) -> PaperFigure:
    """The chart of that name; options: those of its choices that are not the usual ones.

    Where one column has no room for what the screen shows, less is drawn and the caption says so.
    Raises KeyError for what no chart draws, duckdb.Error.
    """
    figure = registry.CHARTS[name]
    chosen = {key: value for key, value in options.items() if key in figure.choices}
    if width == "column":
        chosen = {**figure.in_column, **chosen}
    drawn = registry.draw(name, subject, **chosen)
    title = registry.title(name, subject, drawn).partition(": ")
    runs = list(chosen.get("runs", ())) or [subject.run]
    if chosen.get("other_run", subject.run) != subject.run:
        runs.append(chosen["other_run"])
    said = [
        f"{title[2] if title[2] and not drawn.title else ''.join(title)}.",
        drawn.caption,
        *(_measured(subject, run, of_head=figure.of_head) for run in runs),
        _drawn_from(subject.generation),
    ]
    head = subject.head_name if figure.of_head else ""
    shown = "+".join(map(_short, runs)), head, subject.ablation, words.figure(name).lower(), width
    python = _python(name, subject, head, width, chosen)
    return PaperFigure(_file_name(*shown), " ".join(said), python, drawn.chart, width)


def of_rows(
    generation: Generation, sql: str, rows: pd.DataFrame, columns: Mapping[str, Any], width: str
) -> PaperFigure:
    """The rows of any statement, drawn by `any_columns` with these columns."""
    return PaperFigure(
        _file_name("sql", str(columns["y"]), "by", str(columns["x"]), width),
        f"{columns['y']} against {columns['x']}, {len(rows):,} rows of: {' '.join(sql.split())}. "
        + _drawn_from(generation),
        _OF_ROWS.format(
            opened=_opened(generation),
            sql=sql,
            columns="".join(f", {key}={value!r}" for key, value in columns.items()),
            width=width,
        ),
        any_columns(rows, **columns),
        width,
    )


_OF_ROWS = """\
from pathlib import Path

import selfrepair
from selfrepair.app.charts.detail_charts import any_columns
from selfrepair.paper.page import printed

{opened}
rows = warehouse.sql({sql!r})
chart = any_columns(rows{columns})
for ending, content in printed(chart, {width!r}).items():
    Path(f"chart.{{ending}}").write_bytes(content)
"""


def _opened(generation: Generation) -> str:
    """Opens the warehouse; where it lies on this machine is not for whoever sees the script."""
    return (
        "warehouse = selfrepair.open()  # $SELFREPAIR_WAREHOUSE, else ./warehouse/data; this was "
        f"generation {generation.number}"
    )


def _drawn_from(generation: Generation) -> str:
    return (
        f"Generation {generation.number} of the warehouse, drawn with selfrepair "
        f"{version('selfrepair')}."
    )


def _measured(subject: Subject, run: str, *, of_head: bool) -> str:
    """On what the numbers of a run rest: model, revision, head, ablation, n, fraction, corpus."""
    row = kind_questions.measured(subject, run).frame.iloc[0]
    revision = f"revision {row['revision']}, " if isinstance(row["revision"], str) else ""
    weights = row["weights_sha256"]
    weights = f"weights SHA-256 {weights[:12]}" if isinstance(weights, str) else "unknown weights"
    head = f"{subject.head_name}, " if of_head and run == subject.run else ""
    model = _short(row["model"])
    among = f"{int(row['n_heads']):,} heads, each over its " if not head else ""
    return (
        f"{model} ({revision}{weights}): {head}{subject.ablation} ablation; {among}n = "
        f"{int(row['n_rows_all']):,} tokens, of which the top {words.share(row['top_fraction'])} "
        f"are {int(row['n_rows']):,}; corpus {_short(row['corpus'])}, "
        f"{kinds.clusters(Subject(subject.generation, run)).text}."
    )


def _short(model: str) -> str:
    """A folder of this machine by its own name alone; a hub's id as it is."""
    path = Path(model)
    return path.name if path.is_absolute() else model


def _file_name(*parts: str) -> str:
    """What files are called: letters, digits and few other characters, the parts by `_`."""
    plain = (re.sub(r"[^A-Za-z0-9.@+-]+", "-", part).strip("-.") for part in parts if part)
    shown = [part if len(part) <= LONGEST else part[-LONGEST:].strip("-.") for part in plain]
    return "_".join(shown)


def _python(name: str, subject: Subject, head: str, width: str, options: Mapping[str, Any]) -> str:
    """A script that opens the warehouse, draws the figure, and writes its files."""
    arguments = [repr(name), repr(subject.run)]
    arguments += [repr(head)] if head else []
    named = {"ablation": subject.ablation, **options}
    arguments += [f"{key}={value!r}" for key, value in named.items()]
    asked = "".join(f"    {argument},\n" for argument in arguments)
    return (
        "import selfrepair\n\n"
        f"{_opened(subject.generation)}\n"
        f"chart = warehouse.figure(\n{asked})\n"
        f"warehouse.save_figure(\n{asked}    width={width!r},\n)\n"
    )

"""A figure of the app outside of it: the same queries, the same charts, no server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import plotly.graph_objects as go

from selfrepair.app.figures import registry
from selfrepair.app.questions.queries import Generation, asked_of
from selfrepair.app.questions.subject import Subject
from selfrepair.names import unknown
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.errors import InputError


def draw(
    warehouse: Warehouse,
    connection: duckdb.DuckDBPyConnection,
    figure: str,
    subject: Mapping[str, Any],
    options: Mapping[str, Any],
) -> go.Figure:
    """The figure over what is open. Raises InputError where there is none of that name."""
    with asked_of(connection):
        asked = _asked(_generation(warehouse, connection), figure, subject, options)
        chart = registry.draw(figure, asked, **options).chart
    chart.update_layout(template="plotly_white")
    return chart


def save(
    warehouse: Warehouse,
    connection: duckdb.DuckDBPyConnection,
    figure: str,
    subject: Mapping[str, Any],
    width: str,
    output: Path | str,
    options: Mapping[str, Any],
) -> list[Path]:
    """Writes the figure for a paper. Raises InputError where there is no figure of that name."""
    from selfrepair.paper.figure import for_paper  # it needs Matplotlib
    from selfrepair.paper.looks import WIDTHS

    if width not in WIDTHS:
        raise InputError(unknown("width", width, WIDTHS))
    with asked_of(connection):
        asked = _asked(_generation(warehouse, connection), figure, subject, options)
        return for_paper(figure, asked, width, options).save(output)


def _generation(warehouse: Warehouse, connection: duckdb.DuckDBPyConnection) -> Generation:
    """The one that is open, which may not be the newest."""
    row = connection.execute("select generation, epoch_ns(published_at) from generation").fetchone()
    assert row is not None  # each has one row
    return Generation(str(warehouse.root), *row)


def _asked(
    generation: Generation, figure: str, subject: Mapping[str, Any], options: Mapping[str, Any]
) -> Subject:
    """What the figure is to be drawn of, with a head where none is named."""
    if figure not in registry.CHARTS:
        raise InputError(unknown("figure", figure, registry.CHARTS))
    choices = registry.CHARTS[figure].choices
    for name in options:
        if name not in choices:
            raise InputError(
                unknown(f"choice of figure {figure}", name, choices)
                if choices
                else f"figure {figure} has no choice {name!r}, nor any other"
            )
    named = Subject(generation, **subject)
    return named if "head" in subject else registry.with_head(figure, named)

"""A figure of the app outside of it: the same queries, the same charts, no server."""

from __future__ import annotations

import logging
from typing import Any

import plotly.graph_objects as go

from selfrepair.library.names import unknown
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.errors import InputError

logging.getLogger("streamlit").setLevel(logging.ERROR)  # it warns that its server is not there

from selfrepair.app.figures import registry  # noqa: E402
from selfrepair.app.questions.queries import newest_generation  # noqa: E402
from selfrepair.app.questions.subject import Subject  # noqa: E402


def draw(warehouse: Warehouse, figure: str, **subject: Any) -> go.Figure:
    """The figure over the newest generation. Raises InputError where there is none of that name."""
    if figure not in registry.FIGURES:
        raise InputError(unknown("figure", figure, registry.FIGURES))
    generation = newest_generation(str(warehouse.root))
    assert generation is not None, "it is open"
    chart = registry.draw(figure, Subject(generation, **subject)).chart
    chart.update_layout(template="plotly_white")
    return chart

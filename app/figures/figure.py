"""What a figure is to those that show it: a drawing, and what was drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from selfrepair.app.questions.queries import Answer
from selfrepair.app.questions.subject import Subject


@dataclass(frozen=True)
class Drawn:
    """A chart, the rows that it was drawn from, and what to say below it.

    title: where options made of it something else than the figure's title in `figures` says.
    """

    chart: go.Figure
    answer: Answer
    caption: str
    title: str = ""


@dataclass(frozen=True)
class Figure:
    """How a figure is drawn; what it shows, and what the paper says of it, is in `sql/`.

    draw: of a subject and, by name, the figure's own options. columns: those that it draws, and
    relation: where their meaning is looked up. of_head: whether it is about one head; heads: which
    heads it can be drawn of (rows with layer and head), where these are not all ablated ones.
    follows_theme: whether it has an option `dark`. choices: the other options, which say what is
    drawn, each a text or a number. in_column: what is chosen where one column of a paper has no
    room for the usual.
    """

    draw: Callable[..., Drawn]
    columns: tuple[str, ...] = ()
    relation: str | None = None
    of_head: bool = False
    heads: Callable[[Subject], Answer] | None = None
    follows_theme: bool = False
    choices: tuple[str, ...] = ()
    in_column: Mapping[str, Any] = field(default_factory=dict)

"""What a figure is of, and what it is: shared by all that draw one."""

from dataclasses import dataclass

import plotly.graph_objects as go

from selfrepair.app.questions.queries import Answer


@dataclass(frozen=True)
class Look:
    """What is looked at. A figure takes of it what it needs."""

    run: str
    ablation: str
    layer: int
    head: int
    dark: bool = False


@dataclass(frozen=True)
class Drawn:
    """A figure, the rows it was drawn from, and what to say below it."""

    figure: go.Figure
    answer: Answer
    caption: str

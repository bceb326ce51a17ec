"""Names and titles along the axes of a chart on paper, so that each has the room that it needs."""

import textwrap
from typing import Literal

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selfrepair.paper.looks import SMALLEST, STYLE
from selfrepair.paper.marks import Panel

NAMES = STYLE["xtick.labelsize"]
LETTER = 0.55  # of its size that a letter is wide, about


def fit_names(figure: Figure, panels: dict[tuple[str, str], Panel], layout: go.Layout) -> None:
    """Names along an axis: on several lines, upright, or smaller, where they have no room."""
    figure.draw_without_rendering()
    points = 72 / figure.dpi
    for (x, _), panel in panels.items():
        box = panel.axes.get_window_extent()
        if panel.x_names:
            room = points * box.width / len(panel.x_names)
            labels = panel.axes.get_xticklabels()
            widths = (label.get_window_extent().width for label in labels)
            widest = points * max(widths, default=0.0)
            upright = layout[f"{x[0]}axis{x[1:]}"].tickangle == -90
            if widest > room and not upright:
                wrapped = [_in_lines(label.get_text(), room) for label in labels]
                longest = max(len(line) for lines in wrapped for line in lines)
                size = min(NAMES, room / (LETTER * longest))
                upright = size < SMALLEST
                if not upright:
                    ticks = range(len(wrapped))
                    panel.axes.set_xticks(ticks, ["\n".join(lines) for lines in wrapped])
                    panel.axes.tick_params(axis="x", labelsize=size)
            if upright:
                panel.axes.tick_params(axis="x", rotation=90)
                _shrink(panel.axes, "x", room)
        if panel.y_names:
            _shrink(panel.axes, "y", points * box.height / len(panel.y_names))


def _in_lines(text: str, room: float) -> list[str]:
    """A name in lines that fit so many points, as far as its words allow."""
    return textwrap.wrap(text, max(1, int(room / (LETTER * NAMES))), break_long_words=False) or [""]


def _shrink(axes: Axes, side: Literal["x", "y"], room: float) -> None:
    """Names that stand so many points apart; where that is too few, not every one is written."""
    axes.tick_params(axis=side, labelsize=max(SMALLEST, min(NAMES, 0.95 * room)))
    every = int(np.ceil(SMALLEST / room))
    for i, label in enumerate((axes.xaxis if side == "x" else axes.yaxis).get_ticklabels()):
        label.set_visible(i % every == 0)


def fit_titles(figure: Figure, panels: dict[tuple[str, str], Panel]) -> None:
    """Axis titles that are longer than their axis on as many lines as they need."""
    figure.draw_without_rendering()
    for panel in panels.values():
        box = panel.axes.get_window_extent()
        for axis, room in ((panel.axes.xaxis, box.width), (panel.axes.yaxis, box.height)):
            own = axis.label.get_window_extent()
            length = max(own.width, own.height)
            if length > room:
                text = axis.get_label_text()
                lines = textwrap.wrap(text, max(1, int(len(text) * room / length)))
                axis.set_label_text("\n".join(lines))

"""A chart as it stands in a paper: the app's Plotly figure, drawn by Matplotlib, a column wide.

Matplotlib needs no browser and no network, and embeds its fonts. What is drawn is read from the
figure alone: its traces (`marks.py`), axes, lines, notes and legend; the looks are those of paper
(`looks.py`). What a chart has that is not known here is refused, never left out.
"""

import html
import io
import re
import threading
from collections.abc import Iterator
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

from selfrepair.paper import marks
from selfrepair.paper.fitting import fit_names, fit_titles
from selfrepair.paper.looks import (
    DASHES,
    HEIGHTS,
    HIGHEST,
    LOWEST,
    POINTS,
    SCREEN,
    STYLE,
    WIDTHS,
    color,
)
from selfrepair.paper.marks import Panel
from selfrepair_assets.measurement.errors import InputError

FORMATS = ("svg", "pdf")
_ONE_AT_A_TIME = threading.Lock()  # Matplotlib's settings are the whole process'


def printed(chart: go.Figure, width: str, about: str = "") -> dict[str, bytes]:
    """The chart as SVG and PDF, by format.

    width: "column" (3.25 inches) or "double" (6.75). about: what is said of it inside the files.

    The same chart makes the same bytes. Raises InputError for a kind of trace that is not known.
    """
    with _ONE_AT_A_TIME, mpl.rc_context(STYLE):
        figure = _drawn(chart, width)
        files = {}
        for kind in FORMATS:
            sink = io.BytesIO()
            figure.savefig(sink, format=kind, metadata=_METADATA[kind](about))
            files[kind] = sink.getvalue()
        return files


_METADATA: dict[str, Any] = {
    "svg": lambda about: {"Date": None, "Creator": "selfrepair", "Description": about},
    "pdf": lambda about: {"CreationDate": None, "Creator": "selfrepair", "Subject": about},
}


def _drawn(chart: go.Figure, width: str) -> Figure:
    for trace in chart.data:
        if trace.type not in marks.KINDS:
            raise InputError(f"a chart with {trace.type} cannot be drawn on paper")
    layout = chart.layout
    height = HEIGHTS[width] * (layout.height or SCREEN) / SCREEN
    size = WIDTHS[width], float(np.clip(height, LOWEST, HIGHEST))
    figure = Figure(
        size, layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.03, hspace=0.03)
    )
    panels = _panels(figure, chart)
    for number, trace in enumerate(chart.data):
        marks.KINDS[trace.type](panels[_axes_of(trace)], number, trace)
    for (x, y), panel in panels.items():
        _lines(panel, layout, x, y)
        _axis(panel, layout[_long(x)], "x")
        _axis(panel, layout[_long(y)], "y")
    _notes(panels, layout)
    all_axes = [panel.axes for panel in panels.values()]
    for mesh, bar in next((p.colored for p in panels.values() if p.colored), []):
        drawn = figure.colorbar(mesh, ax=all_axes, aspect=28, pad=0.02, fraction=0.05)
        drawn.outline.set_visible(False)
        drawn.set_label(_text(bar.title.text))
        if bar.dtick is not None:
            drawn.locator = MultipleLocator(bar.dtick)
    _legend(figure, chart, all_axes)
    fit_names(figure, panels, layout)
    fit_titles(figure, panels)
    return figure


def _axes_of(trace: Any) -> tuple[str, str]:
    return trace.xaxis or "x", trace.yaxis or "y"


def _long(axis: str) -> str:
    """`x2` -> `xaxis2`, its name in the layout."""
    return f"{axis[0]}axis{axis[1:]}"


def _panels(figure: Figure, chart: go.Figure) -> dict[tuple[str, str], Panel]:
    """A pair of axes for each that a trace is drawn on, where the figure's domains have them."""
    layout = chart.layout
    pairs = list(dict.fromkeys(_axes_of(trace) for trace in chart.data)) or [("x", "y")]
    across = sorted({_domain(layout, x) for x, _ in pairs})
    up = sorted({_domain(layout, y) for _, y in pairs}, reverse=True)
    grid = figure.add_gridspec(
        len(up),
        len(across),
        width_ratios=[end - start for start, end in across],
        height_ratios=[end - start for start, end in up],
    )
    places, shared = _places(chart), _shared_numbers(chart)
    panels: dict[tuple[str, str], Panel] = {}
    for x, y in pairs:
        shares = {
            f"share{own[0]}": found.axes
            for own, i in ((x, 0), (y, 1))
            for pair, found in panels.items()
            if layout[_long(own)].matches == pair[i] or layout[_long(pair[i])].matches == own
        }
        place = grid[up.index(_domain(layout, y)), across.index(_domain(layout, x))]
        own_traces = [(n, t) for n, t in enumerate(chart.data) if _axes_of(t) == (x, y)]
        panels[x, y] = Panel(
            figure.add_subplot(place, **shares),
            layout,
            _names(layout, chart, x),
            _names(layout, chart, y),
            places,
            (len(up), len(across)),
            shared,
            [n for n, trace in own_traces if trace.type in ("bar", "waterfall")],
        )
    return panels


def _domain(layout: go.Layout, axis: str) -> tuple[float, float]:
    return tuple(layout[_long(axis)].domain or (0.0, 1.0))


def _names(layout: go.Layout, chart: go.Figure, axis: str) -> list[str] | None:
    """What stands on an axis of names, in order; None on one of numbers."""
    own = layout[_long(axis)]
    if own.type == "category" and own.tickvals is not None:
        return [str(name) for name in own.tickvals]
    matched = {axis, own.matches} | {
        other
        for trace in chart.data
        for other in _axes_of(trace)
        if layout[_long(other)].matches == axis
    }
    values = [
        value
        for trace in chart.data
        if getattr(trace, f"{axis[0]}axis") in matched or axis in ("x", "y")
        for value in (trace[axis[0]] if trace[axis[0]] is not None else ())
        if value is not None
    ]
    is_of_names = own.type == "category" or any(isinstance(value, str) for value in values)
    return list(dict.fromkeys(str(value) for value in values)) if is_of_names else None


def _places(chart: go.Figure) -> dict[int, int]:
    """Each trace's number among those that must be told apart: those of a group have the same."""
    known: dict[str, int] = {}
    return {
        number: known.setdefault(trace.legendgroup or trace.name or "", len(known))
        for number, trace in enumerate(chart.data)
        if trace.type == "scatter" and trace.hoverinfo != "skip"
    }


def _shared_numbers(chart: go.Figure) -> np.ndarray:
    """What marks are coloured by where several traces have one scale of colours."""
    given = [
        np.asarray(trace.marker.color, dtype=float)
        for trace in chart.data
        if trace.type == "scatter" and trace.marker.coloraxis
    ]
    return np.concatenate(given) if given else np.array([])


def _lines(panel: Panel, layout: go.Layout, x: str, y: str) -> None:
    """The lines that are drawn across a panel."""
    for shape in layout.shapes:
        looks = {
            "color": color(shape.line.color),
            "linewidth": (shape.line.width or 2) * POINTS,
            "linestyle": DASHES[shape.line.dash or "solid"],
            "zorder": 0.8,
        }
        if (shape.xref, shape.yref) == (f"{x} domain", y):
            panel.axes.axhline(shape.y0, **looks)
        elif (shape.xref, shape.yref) == (x, f"{y} domain"):
            panel.axes.axvline(shape.x0, **looks)


def _axis(panel: Panel, own: Any, side: Literal["x", "y"]) -> None:
    """An axis' title, ends and ticks."""
    axes, axis = panel.axes, panel.axes.xaxis if side == "x" else panel.axes.yaxis
    set_ends = axes.set_xlim if side == "x" else axes.set_ylim
    if own.title.text:
        axis.set_label_text(_text(own.title.text))
    names = panel.x_names if side == "x" else panel.y_names
    if names is not None:
        axis.set_ticks(range(len(names)), [_text(t) for t in own.ticktext or names])
    elif own.dtick is not None:
        axis.set_major_locator(MultipleLocator(own.dtick))
    else:
        panels = panel.grid[0 if side == "y" else 1]
        axis.set_major_locator(MaxNLocator(max(1, 6 // panels), steps=[1, 2, 2.5, 5, 10]))
    if own.tickformat == ".0%":
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    if own.range is not None and own.range[0] != own.range[1]:
        low, high = own.range
        beyond = panel.beyond * (high - low) if names is None else 0
        set_ends(low - beyond, high + beyond)
    elif own.rangemode == "tozero":
        set_ends(0)
    if own.showticklabels is False:
        axes.tick_params(axis=side, **{f"label{'bottom' if side == 'x' else 'left'}": False})
    if own.showticklabels is False and names is None and own.matches is None:
        axes.tick_params(axis=side, length=0)


def _notes(panels: dict[tuple[str, str], Panel], layout: go.Layout) -> None:
    """What is written in a panel or above it."""
    for note in layout.annotations:
        if not note.text:
            continue
        if note.xref == "paper":
            middle = {sum(_domain(layout, x)) / 2: panel for (x, _), panel in panels.items()}
            nearest = min(middle, key=lambda at: abs(at - note.x))
            middle[nearest].axes.set_title(_text(note.text))
        else:
            axes = panels[note.xref, note.yref.split(" ")[0]].axes
            axes.annotate(
                _text(note.text), (note.x, 1), xycoords=("data", "axes fraction"),
                xytext=(2, -2), textcoords="offset points", va="top", fontsize=6,
            )  # fmt: skip


def _legend(figure: Figure, chart: go.Figure, all_axes: list[Axes]) -> None:
    """Above the panels, in as many columns as the width has room for."""
    entries = {label: handle for handle, label in _entries(all_axes)}
    if len(entries) < 2 or chart.layout.showlegend is False:
        return
    handles, labels = list(entries.values()), list(entries)
    for columns in range(len(entries), 0, -1):
        legend = figure.legend(
            handles, labels, loc="outside upper left", ncols=columns, frameon=False,
            handlelength=2.2, columnspacing=1.0, handletextpad=0.5, borderaxespad=0.1,
            borderpad=0.1, labelspacing=0.3,
        )  # fmt: skip
        figure.draw_without_rendering()
        if legend.get_window_extent().width <= figure.bbox.width or columns == 1:
            return
        legend.remove()


def _entries(all_axes: list[Axes]) -> Iterator[tuple[Any, str]]:
    for axes in all_axes:
        yield from zip(*axes.get_legend_handles_labels(), strict=True)


def _text(text: str | None) -> str:
    """Plotly's text without its markup."""
    return html.unescape(re.sub(r"<[^>]*>", "", re.sub(r"<br ?/?>", "\n", text or "")))

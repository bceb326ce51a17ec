"""What stands between the axes of a chart on paper: each kind of Plotly trace in Matplotlib."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from selfrepair.paper.looks import DASHES, HATCHES, ORDER, POINTS, SYMBOLS, color, scale

SHADE = 0.05  # of the largest absolute value: less than that is no sign that a cell could show


@dataclass
class Panel:
    """One pair of axes while it is drawn.

    x_names, y_names: what stands at 0, 1, 2 … of an axis of names; None of one of numbers.
    places: of each named trace, its number in the legend. grid: rows and columns of panels.
    shared: all numbers of the chart that its one scale of colours stands for. bars: which bars
    share a place. beyond: the share of the axis that numbers at their ends need. colored: what has
    a scale of colours.
    """

    axes: Axes
    layout: go.Layout
    x_names: list[str] | None
    y_names: list[str] | None
    places: dict[int, int]
    grid: tuple[int, int]
    shared: np.ndarray
    bars: list[int] = field(default_factory=list)
    beyond: float = 0.0
    colored: list[tuple[ScalarMappable, Any]] = field(default_factory=list)

    def x(self, values: Any) -> np.ndarray:
        return _numbers(values, self.x_names)

    def y(self, values: Any) -> np.ndarray:
        return _numbers(values, self.y_names)


def _numbers(values: Any, names: list[str] | None) -> np.ndarray:
    """Where values stand on an axis."""
    if values is None:
        return np.array([])
    if names is None:
        return np.array([np.nan if v is None else v for v in values], dtype=float)
    place = {name: float(i) for i, name in enumerate(names)}
    return np.array([place[str(value)] for value in values])


def _scatter(panel: Panel, number: int, trace: Any) -> None:
    x, y = panel.x(trace.x), panel.y(trace.y)
    modes = (trace.mode or "lines").split("+")
    step: Literal["post"] | None = "post" if trace.line.shape == "hv" else None
    shade = color(trace.fillcolor) if trace.fillcolor else None
    if trace.fill == "toself":
        panel.axes.fill(x, y, color=shade, linewidth=0, label=_label(trace))
    if trace.fill == "tozeroy":
        panel.axes.fill_between(x, y, step=step, color=shade, linewidth=0)
    is_numbered = not isinstance(trace.marker.color, str | None)
    if is_numbered and "lines" in modes and len(x):  # the line has its marks' colour
        numbers = np.asarray(trace.marker.color, dtype=float)
        own: Any = _colored(panel, trace.marker, numbers).to_rgba(numbers[0])
    else:
        own = color(trace.line.color) if trace.line.color else None
    if "lines" in modes and trace.fill != "toself":
        panel.axes.plot(
            x,
            y,
            color=own,
            linewidth=max(0.6, (trace.line.width or 2) * POINTS),
            linestyle=_dash(panel, number, trace),
            drawstyle="steps-post" if step else "default",
            marker=_mark(panel, number, trace) if "markers" in modes else None,
            markersize=(trace.marker.size or 6) * POINTS,
            label=_label(trace),
        )
    elif "markers" in modes:
        _dots(panel, number, trace, x, y)
    if trace.error_y.array is not None:
        panel.axes.errorbar(
            x,
            y,
            np.asarray(trace.error_y.array, dtype=float),
            fmt="none",
            ecolor=own if is_numbered else color(trace.error_y.color),
            elinewidth=0.5,
            capsize=0.8,
            zorder=1.5,
        )
    if "text" in modes:
        shades = trace.textfont.color
        shades = [shades] * len(x) if isinstance(shades, str) else shades
        for at_x, at_y, text, shade_of in zip(x, y, trace.text, shades, strict=True):
            if text:
                panel.axes.text(
                    at_x, at_y, text, color=shade_of, fontsize=4, ha="center", va="center"
                )


def _dots(panel: Panel, number: int, trace: Any, x: np.ndarray, y: np.ndarray) -> None:
    """Marks without a line, coloured alike, one by one, or by a number."""
    marker, size = trace.marker, ((trace.marker.size or 6) * POINTS) ** 2
    if isinstance(marker.color, str) and color(marker.color)[3] == 0:
        return  # there to be clicked
    symbols = marker.symbol if isinstance(marker.symbol, list | tuple | np.ndarray) else None
    symbols = np.array(symbols if symbols is not None else [marker.symbol or "circle"] * len(x))
    own = _mark(panel, number, trace)
    by_number = None
    if not isinstance(marker.color, str):
        by_number = _colored(panel, marker, np.asarray(marker.color, dtype=float))
    for symbol in dict.fromkeys(symbols):
        here, is_open = symbols == symbol, symbol.endswith("-open")
        shades: Any = (
            by_number.to_rgba(np.asarray(marker.color, dtype=float)[here])
            if by_number is not None
            else [color(marker.color)] * int(here.sum())
        )
        panel.axes.scatter(
            x[here],
            y[here],
            s=size,
            marker=own,
            facecolors="none" if is_open else shades,
            edgecolors=shades if is_open else "none",
            linewidths=0.6 if is_open else 0,
            alpha=max(marker.opacity or 1, 0.6),
            label=_label(trace) if symbol == symbols[0] else None,
        )


def _bars(panel: Panel, number: int, trace: Any) -> None:
    lying = trace.orientation == "h"
    names, values = (trace.y, trace.x) if lying else (trace.x, trace.y)
    at = (panel.y if lying else panel.x)(names)
    width, offset = _share_of_place(panel, number)
    values = np.array([np.nan if v is None else v for v in values], dtype=float)
    shades = trace.marker.color
    shades = [shades] * len(at) if isinstance(shades, str) else shades
    draw_bars = panel.axes.barh if lying else panel.axes.bar
    bars = draw_bars(
        at + offset,
        values,
        width,
        color=[color(shade) for shade in shades],
        edgecolor="white",
        linewidth=0,
        hatch=HATCHES[panel.bars.index(number) % len(HATCHES)],
        label=_label(trace),
    )
    if trace.error_y.array is not None:
        errors = np.array([np.nan if e is None else e for e in trace.error_y.array], dtype=float)
        panel.axes.errorbar(
            at + offset, values, errors, fmt="none", ecolor="#333333", elinewidth=0.6, capsize=1.2
        )
    if trace.text is not None:
        panel.axes.bar_label(bars, labels=list(trace.text), padding=1.5, fontsize=6)
        panel.beyond = 0.08


def _waterfall(panel: Panel, number: int, trace: Any) -> None:
    at = panel.x(trace.x)
    width, offset = _share_of_place(panel, number)
    total, ends = 0.0, []
    for place, change, kind, text in zip(at, trace.y, trace.measure, trace.text, strict=True):
        start, total = (0.0, total) if kind == "total" else (total, total + change)
        own = (
            trace.totals
            if kind == "total"
            else (trace.increasing if change > 0 else trace.decreasing)
        )
        hatch = "" if kind == "total" else ("////" if change > 0 else "....")
        bar = panel.axes.bar(
            place + offset, total - start, width, bottom=start, color=color(own.marker.color),
            edgecolor="white", linewidth=0, hatch=hatch,
        )  # fmt: skip
        panel.axes.bar_label(bar, labels=[text], padding=1.5, fontsize=6)
        ends.append(total)
    panel.axes.step(at, ends, where="post", color="#888888", linewidth=0.5, zorder=0.5)
    panel.axes.use_sticky_edges = False  # room for the numbers at the bars' ends
    panel.axes.margins(y=0.15)


def _share_of_place(panel: Panel, number: int) -> tuple[float, float]:
    """How wide a bar is, and how far from the place that it shares with others."""
    gap = 0.2 if panel.layout.bargap is None else panel.layout.bargap
    width = (1 - gap) / len(panel.bars)
    return width, (panel.bars.index(number) - (len(panel.bars) - 1) / 2) * width


def _heatmap(panel: Panel, number: int, trace: Any) -> None:
    values = np.asarray(trace.z, dtype=float)
    x, y = panel.x(trace.x), panel.y(trace.y)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    largest = max(-low, high)
    if trace.zmin is not None:
        low, high = trace.zmin, trace.zmax
    mesh = panel.axes.pcolormesh(
        _edges(x), _edges(y), values, cmap=scale(trace.colorscale), norm=Normalize(low, high),
        alpha=trace.opacity, edgecolors="white", linewidth=0.3,
    )  # fmt: skip
    if trace.showscale is not False:
        panel.colored.append((mesh, trace.colorbar))
    if low < 0 < high:  # grey print shows no sign
        below = np.argwhere(values < -SHADE * min(largest, high))
        is_dark = values[tuple(below.T)] < 0.6 * low
        panel.axes.scatter(
            x[below[:, 1]], y[below[:, 0]], marker="_", linewidths=0.5,
            s=(0.45 * _cell(panel, len(x), len(y))) ** 2,
            c=np.where(is_dark & (trace.opacity is None or trace.opacity == 1), "white", "#333333"),
        )  # fmt: skip


def _cell(panel: Panel, columns: int, rows: int) -> float:
    """The smaller side of a cell, in points, as far as it is known before the layout is."""
    box, points = panel.axes.bbox, 72 / panel.axes.figure.dpi
    return points * min(box.width / max(columns, 1), 0.8 * box.height / max(rows, 1))


def _edges(centers: np.ndarray) -> np.ndarray:
    """Cells of width 1 around whole numbers."""
    return np.append(centers - 0.5, centers[-1:] + 0.5)


def _colored(panel: Panel, marker: Any, values: np.ndarray) -> ScalarMappable:
    """Numbers as colours, by the marks' own scale or by the one that the chart's panels share."""
    own, values = (panel.layout.coloraxis, panel.shared) if marker.coloraxis else (marker, values)
    low, high = own.cmin, own.cmax
    if low is None:
        known = values[np.isfinite(values)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        if own.cmid is not None:
            far = max(high - own.cmid, own.cmid - low) or 1.0
            low, high = own.cmid - far, own.cmid + far
    found = ScalarMappable(Normalize(low, high), scale(own.colorscale))
    has_bar = own.colorbar.title.text is not None or own.showscale
    if has_bar and not panel.colored and len(values):
        panel.colored.append((found, own.colorbar))
    return found


def _label(trace: Any) -> str | None:
    """What the legend says of a trace."""
    return str(trace.name) if trace.name and trace.showlegend is not False else None


def _mark(panel: Panel, number: int, trace: Any) -> str:
    """The trace's own mark; where all are circles, that of its place in the legend."""
    own = trace.marker.symbol
    if isinstance(own, str) and own.removesuffix("-open") != "circle":
        return SYMBOLS[own.removesuffix("-open")]
    return ORDER[panel.places.get(number, 0) % len(ORDER)]


def _dash(panel: Panel, number: int, trace: Any) -> Any:
    """The trace's own dash; where it has none, that of its place in the legend."""
    own = trace.line.dash or "solid"
    if own != "solid":
        return DASHES[own]
    return list(DASHES.values())[panel.places.get(number, 0) % len(DASHES)]


KINDS: dict[str, Callable[[Panel, int, Any], None]] = {
    "scatter": _scatter,
    "bar": _bars,
    "waterfall": _waterfall,
    "heatmap": _heatmap,
}

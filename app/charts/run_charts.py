"""Figures of runs and heads from rows: pure functions, of frames as `questions.py` gives them.

A mark that can be clicked carries `customdata`, whose first entries say what to open.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from selfrepair.app.wording import words
from selfrepair.app.wording.kinds import is_little, little_removed
from selfrepair_assets.measurement.ablations import ABLATIONS

# Seven colours that can be told apart on white and on black, also by colour-blind readers.
COLORS = ["#4c7bf3", "#e8963d", "#22a58b", "#c2569b", "#8a63d2", "#8b8f3a", "#d2555a"]
PARTS = {
    "self_repair_from_heads": COLORS[0],
    "self_repair_from_mlps": COLORS[1],
    "self_repair_from_post_norm": COLORS[3],
    "self_repair_from_layernorm": COLORS[2],
}
DEPTH_SCALE = [[0, "#3a7bd5"], [0.35, "#7a63d8"], [0.65, "#c9539f"], [1, "#f08a3c"]]
RISING_LIGHT = [[0, "#f3f4f8"], [0.5, "#8aa8f0"], [1, "#23429f"]]
RISING_DARK = [[0, "#23242a"], [0.5, "#4569c8"], [1, "#b9ccff"]]
BOTH_LIGHT = [
    [0, "#23429f"],
    [0.25, "#8aa8f0"],
    [0.5, "#f7f7f7"],
    [0.75, "#f0a48a"],
    [1, "#a8321f"],
]
BOTH_DARK = [[0, "#a9c1ff"], [0.25, "#4569c8"], [0.5, "#24242a"], [0.75, "#b8573d"], [1, "#ffb79f"]]
BOTH_MARKS = [[0, "#3a6ee8"], [0.5, "#9a9da6"], [1, "#d9552f"]]  # seen on black and on white
POSITIVE, NEGATIVE = "#e07a3c", "#4c7bf3"  # of signed values, wherever a token is shown
QUIET = "rgba(128,128,128,0.6)"
ZONE = "rgba(128,128,128,0.13)"


def there(columns: Iterable[str], frame: pd.DataFrame, suffix: str = "") -> list[str]:
    """The columns without the post-norm's part where no row has one: most models have no such norm.

    suffix: what the columns' names end with in the frame, such as `_all`.
    """
    return [
        column
        for column in columns
        if "post_norm" not in column or frame[f"{column}{suffix}"].fillna(0).ne(0).any()
    ]


def plain(figure: go.Figure, height: int = 420, *, x: str = "", y: str = "") -> go.Figure:
    """The layout that all charts share."""
    named = [trace for trace in figure.data if trace.showlegend is not False and trace.name]
    has_legend = len(named) > 1
    figure.update_layout(
        height=height,
        # Plotly's tools are above the legend, which is above what is drawn.
        margin={"l": 10, "r": 10, "t": 64 if has_legend else 34, "b": 10},
        hovermode="closest",
        legend={
            "orientation": "h",
            "yanchor": "bottom",
            "y": 1.0,
            "x": 0,
            "title": None,
        },
        dragmode="zoom",
    )
    figure.update_xaxes(title=x, automargin=True, zeroline=False)
    figure.update_yaxes(title=y, automargin=True, zeroline=False)
    return figure


def largest_of(values: np.ndarray) -> float:
    """The largest absolute value, the end of a scale around 0; 1 where there is none."""
    known = np.abs(values[np.isfinite(values)])
    return float(known.max()) if known.size and known.max() > 0 else 1.0


def whiskers(
    errors: pd.Series, color: str = QUIET, *, thickness: float = 1, width: int = 2
) -> dict[str, Any]:
    """Standard errors as bars above and below a mark. thickness: of the bar, width: of its ends."""
    return {"array": errors, "thickness": thickness, "width": width, "color": color}


def diagonal(figure: go.Figure, ends: Sequence[float], name: str) -> None:
    """The line y = x between the ends."""
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        name=name,
        line={"color": QUIET, "dash": "dash", "width": 1.5},
        hoverinfo="skip",
    )


def by_depth(
    frame: pd.DataFrame, quantity: str, y: str, y_range: tuple[float, float] | None = None
) -> go.Figure:
    """Fig. 1, 6, 10, 11: a dot per head, a line per run through its layers' means."""
    figure = go.Figure()
    runs = list(dict.fromkeys(frame["run_id"]))
    for run, color in zip(runs, _colors(len(runs)), strict=True):
        own = frame[frame["run_id"] == run]
        figure.add_scatter(
            x=own["depth"],
            y=own[quantity],
            mode="markers",
            name=run,
            legendgroup=run,
            showlegend=False,
            marker={
                "size": 6,
                "opacity": 0.45,
                "color": color,
                "symbol": np.where(own["share_removed"].map(is_little), "circle-open", "circle"),
            },
            customdata=np.stack(
                [
                    own["run_id"],
                    own["layer"],
                    own["head"],
                    own[f"{quantity}_se"],
                    own["share_removed"].map(words.share),
                ],
                axis=-1,
            ),
            hovertemplate=(
                "<b>L%{customdata[1]}H%{customdata[2]}</b> of %{customdata[0]}<br>"
                "%{y:.3f} ± %{customdata[3]:.3f}<br>"
                "removed: %{customdata[4]} of the direct effect<extra></extra>"
            ),
        )
        layers = own.drop_duplicates("layer").sort_values("layer")
        figure.add_scatter(
            x=layers["depth"],
            y=layers[f"layer_{quantity}"],
            error_y=whiskers(layers[f"layer_{quantity}_se"], color),
            mode="lines",
            name=run,
            legendgroup=run,
            line={"color": color, "width": 2.5},
            customdata=layers["layer"],
            hovertemplate="layer %{customdata}, mean of its heads: %{y:.3f}<extra>"
            + run
            + "</extra>",
        )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1})
    plain(figure, 480, x="depth: layer / number of layers", y=y)
    figure.update_xaxes(range=[-0.02, 1.0])
    if y_range:
        figure.update_yaxes(range=list(y_range))
    return figure


def map_height(n_layers: int) -> int:
    """Pixels of a map with that many layers."""
    return max(480, 19 * n_layers + 90)


def heat_map(
    frame: pd.DataFrame,
    quantity: str,
    *,
    has_sign: bool,
    dark: bool,
    unit: str,
    ends: float | None = None,
    removed: str | None = None,
) -> go.Figure:
    """A cell per head: layers up, heads across; white (or black) is zero where there is a sign.

    ends: the absolute value at which the colours end, at most; what is beyond has an arrow.
    removed: the column of the share that was removed, where little of it is marked by a ○.
    """
    cells = frame.pivot(index="layer", columns="head", values=quantity)
    largest = largest_of(cells.to_numpy(dtype=float))
    largest = min(largest, ends) if ends else largest
    scale = (
        (BOTH_DARK if dark else BOTH_LIGHT) if has_sign else (RISING_DARK if dark else RISING_LIGHT)
    )
    figure = go.Figure(
        go.Heatmap(
            z=cells.to_numpy(dtype=float),
            x=list(cells.columns),
            y=list(cells.index),
            colorscale=scale,
            zmid=0 if has_sign else None,
            zmin=-largest if has_sign else None,
            zmax=largest if has_sign else None,
            xgap=1,
            ygap=1,
            colorbar={"title": {"text": unit}, "thickness": 12, "outlinewidth": 0},
            hoverinfo="skip",
        )
    )
    values = frame[quantity].astype(float)
    marks = np.where(values.abs() > largest, np.where(values > 0, "▲", "▼"), "")
    little = [little_removed(share) for share in frame[removed]] if removed else [""] * len(frame)
    marks = np.where([said != "" for said in little], np.char.add("○", marks.astype(str)), marks)
    is_strong = values.abs() > 0.6 * largest
    # Heat map cells cannot be clicked in every browser; an invisible mark on each one can.
    figure.add_scatter(
        x=frame["head"],
        y=frame["layer"],
        mode="markers+text",
        text=marks,
        textfont={"size": 12, "color": np.where(is_strong == dark, "#000000", "#ffffff")},
        showlegend=False,
        marker={"size": 16, "symbol": "square", "color": "rgba(0,0,0,0)"},
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
        customdata=np.stack(
            [
                frame["layer"],
                frame["head"],
                frame[quantity].map(words.signed if has_sign else words.number),
                frame[f"{quantity}_se"].map(lambda error: words.number(error, 2)),
                [f"<br>{said}" if said else "" for said in little],
            ],
            axis=-1,
        ),
        hovertemplate=(
            "<b>L%{customdata[0]}H%{customdata[1]}</b><br>"
            "%{customdata[2]} ± %{customdata[3]}%{customdata[4]}<extra></extra>"
        ),
    )
    plain(figure, map_height(len(cells.index)), x="head", y="layer")
    for axes, names in ((figure.update_yaxes, cells.index), (figure.update_xaxes, cells.columns)):
        axes(
            dtick=max(1, len(names) // 14),
            showgrid=False,
            range=[min(names) - 0.5, max(names) + 0.5] if len(names) else None,
        )
    return figure


def parts(frame: pd.DataFrame, *, suffix: str = "") -> go.Figure:
    """Self-repair's parts as bars per ablation, and their sum, with standard errors."""
    figure = go.Figure()
    columns = there([*PARTS, "self_repair"], frame, suffix)
    for column in columns:
        figure.add_bar(
            x=frame["ablation"],
            y=frame[f"{column}{suffix}"],
            error_y=whiskers(frame[f"{column}{suffix}_se"], thickness=1.2, width=4),
            name={"self_repair": "all of it"}.get(column, words.name(column).split(" from ")[-1]),
            marker={"color": PARTS.get(column, "#8a8f98")},
            hovertemplate=f"{words.name(column)}: %{{y:.3f}}<extra>%{{x}} ablation</extra>",
        )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1})
    figure.update_layout(barmode="group", bargap=0.25)
    return plain(figure, 360, y="self-repair (logits)")


def _colors(n: int) -> Sequence[str]:
    return [COLORS[i % len(COLORS)] for i in range(n)]


def layer_colors(layers: "pd.Series[int]") -> dict[str, Any]:
    """The colour axis of marks whose colour is their layer."""
    return {
        "colorscale": DEPTH_SCALE,
        "colorbar": {
            "title": {"text": "layer"},
            "thickness": 12,
            "outlinewidth": 0,
            "dtick": max(1, int(np.ptp(layers)) // 6) if len(layers) else 1,
        },
    }


def ablation_color(ablation: str) -> str:
    """The colour that an ablation has everywhere."""
    return ABLATIONS[ablation].color if ablation in ABLATIONS else "#8a8f98"

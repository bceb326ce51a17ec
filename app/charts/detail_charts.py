"""Figures of components, neurons, self-reinforcement and trust from rows: pure functions."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from selfrepair.app.charts.run_charts import (
    BOTH_MARKS,
    COLORS,
    DEPTH_SCALE,
    NEGATIVE,
    POSITIVE,
    QUIET,
    largest_of,
    plain,
)
from selfrepair.app.wording import words

END = 50  # neurons at an end of the cumulative curve that is drawn one by one


def bars(frame: pd.DataFrame, *, label: str, value: str, x: str) -> go.Figure:
    """Signed values as horizontal bars, the first row at the top."""
    rows = frame.iloc[::-1]
    figure = go.Figure(
        go.Bar(
            x=rows[value],
            y=rows[label].astype(str),
            orientation="h",
            marker={"color": [POSITIVE if v > 0 else NEGATIVE for v in rows[value]]},
            text=[words.signed(float(v)) for v in rows[value]],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    )
    figure.add_vline(x=0, line={"color": QUIET, "width": 1})
    plain(figure, max(240, 24 * len(rows) + 90), x=x)
    # Room for the numbers beside the longest bars.
    ends = [1.3 * min(0.0, float(rows[value].min())), 1.3 * max(0.0, float(rows[value].max()))]
    figure.update_xaxes(range=[ends[0] - 0.12 * ends[1], ends[1] - 0.12 * ends[0]])
    return figure.update_yaxes(type="category")


def top_neurons(frame: pd.DataFrame) -> go.Figure:
    """Fig. 7: clean against ablated direct effect of each token's most repairing neuron."""
    figure = go.Figure()
    _diagonal(figure, frame, "direct_effect", "direct_effect_ablated", "y = x: no change")
    largest = largest_of(frame["mlp_direct_effect"].to_numpy(dtype=float))
    figure.add_scatter(
        x=frame["direct_effect"],
        y=frame["direct_effect_ablated"],
        mode="markers",
        showlegend=False,
        marker={
            "size": 6,
            "color": frame["mlp_direct_effect"],
            "colorscale": BOTH_MARKS,
            "cmin": -largest,
            "cmax": largest,
            "line": {"width": 1, "color": QUIET},
            "colorbar": {
                "title": {"text": "MLP's<br>direct effect"},
                "thickness": 12,
                "outlinewidth": 0,
            },
        },
        customdata=np.stack([frame[c] for c in ("neuron", "sequence", "position")], axis=-1),
        hovertemplate=(
            "neuron %{customdata[0]}<br>clean %{x:.3f}, ablated %{y:.3f}<br>"
            "sequence %{customdata[1]}, position %{customdata[2]}<extra></extra>"
        ),
    )
    return plain(
        figure, 440, x="direct effect of the neuron (logits)", y="the same, head ablated (logits)"
    )


def frequency(frame: pd.DataFrame) -> go.Figure:
    """Fig. 8: share of rows in which the Nth most repairing neuron repairs that much."""
    figure = go.Figure()
    thresholds = sorted(frame["threshold"].unique(), reverse=True)
    for i, threshold in enumerate(thresholds):
        own = frame[frame["threshold"] == threshold].sort_values("neuron_rank")
        figure.add_scatter(
            x=own["neuron_rank"],
            y=own["share"],
            mode="lines",
            name=f"more than {words.share(float(threshold))}",
            line={"color": COLORS[i % len(COLORS)], "width": 2},
            hovertemplate="neuron number %{x}: %{y:.1%} of the rows<extra>%{fullData.name}</extra>",
        )
    plain(figure, 420, x="N: the Nth most repairing neuron", y="share of the top rows")
    return figure.update_yaxes(tickformat=".0%", range=[0, 1.02])


def cumulative(frame: pd.DataFrame) -> go.Figure:
    """Fig. 12-15: cumulative share of the absolute change, coloured by the median direct effect.

    Beside the whole curve its steep ends, neuron by neuron, where the layer is larger than they
    are and they were measured so.
    """
    rows = frame.sort_values("n_neurons")
    panels = _ends_and_middle(rows)
    figure = make_subplots(
        1,
        len(panels),
        shared_yaxes=True,
        column_widths=[1.3 if name.startswith("all") else 1 for name in panels],
        horizontal_spacing=0.03,
        subplot_titles=list(panels) if len(panels) > 1 else None,
    )
    for column, part in enumerate(panels.values(), start=1):
        figure.add_scatter(
            row=1,
            col=column,
            x=part["n_neurons"],
            y=part["cumulative_share"],
            mode="lines",
            showlegend=False,
            line={"color": QUIET, "width": 1.5},
            hoverinfo="skip",
        )
        known = part["direct_effect_median"].notna()
        for own, marker in (
            (part[~known], {"color": QUIET, "symbol": "circle-open"}),
            (part[known], {"color": part[known]["direct_effect_median"], "coloraxis": "coloraxis"}),
        ):
            figure.add_scatter(
                row=1,
                col=column,
                x=own["n_neurons"],
                y=own["cumulative_share"],
                mode="markers",
                showlegend=False,
                marker={"size": 6, **marker},
                customdata=own["direct_effect_median"].map(words.signed),
                hovertemplate=(
                    "first %{x} neurons: %{y:.1%} of the change<br>median direct effect of number "
                    "%{x}: %{customdata}<extra></extra>"
                ),
            )
    plain(figure, 420, y="")
    figure.update_layout(
        coloraxis={
            "colorscale": BOTH_MARKS,
            "cmid": 0,
            "colorbar": {
                "title": {"text": "median<br>direct effect"},
                "thickness": 12,
                "outlinewidth": 0,
            },
        }
    )
    figure.update_annotations(font={"size": 12})
    figure.update_yaxes(tickformat=".0%")
    middle = list(panels).index(next(name for name in panels if name.startswith("all"))) + 1
    figure.update_xaxes(title="neurons, in order of repair", row=1, col=middle)
    return figure.update_yaxes(title="share of the absolute change", row=1, col=1)


def _ends_and_middle(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What each panel of the cumulative curve is called, and its points, from left to right."""
    whole = {"all neurons": rows}
    last = int(rows["n_neurons"].max()) if len(rows) else 0
    if last <= 2 * END:
        return whole
    ends = {
        f"the first {END}": rows[rows["n_neurons"] <= END],
        f"the last {END}": rows[rows["n_neurons"] >= last - END],
    }
    first, final = ((name, part) for name, part in ends.items())
    return dict(
        [first] * (len(first[1]) > END) + list(whole.items()) + [final] * (len(final[1]) > END)
    )


def among_ten(frame: pd.DataFrame) -> go.Figure:
    """Section 4.2.2: how often each neuron is among the ten most repairing, most often first."""
    figure = go.Figure(
        go.Bar(
            x=list(range(1, len(frame) + 1)),
            y=frame["share_among_ten"],
            marker={"color": COLORS[0], "line": {"width": 0}},
            customdata=frame["neuron"],
            hovertemplate="neuron %{customdata}: %{y:.1%} of the rows<extra></extra>",
        )
    )
    plain(figure, 360, x="neurons, most often first", y="share of the kept rows")
    figure.update_layout(bargap=0.1)
    return figure.update_yaxes(tickformat=".0%", rangemode="tozero")


def reinforcement(frame: pd.DataFrame, scales: list[float]) -> go.Figure:
    """Fig. 9 and 19: direct effect before and after the head's own output is added."""
    figure = go.Figure()
    drawn = frame[frame["scale"].isin(scales)]
    _diagonal(figure, drawn, "direct_effect", "direct_effect_after", "y = x: no change")
    for i, scale in enumerate(scales):
        own = drawn[drawn["scale"] == scale]
        figure.add_scatter(
            x=own["direct_effect"],
            y=own["direct_effect_after"],
            mode="markers",
            name=f"output added {scale:g} times",
            marker={"size": 5, "opacity": 0.6, "color": COLORS[i % len(COLORS)]},
            hovertemplate="before %{x:.3f}, after %{y:.3f}<extra>%{fullData.name}</extra>",
        )
    return plain(figure, 440, x="direct effect before (logits)", y="direct effect after (logits)")


def slopes(frame: pd.DataFrame) -> go.Figure:
    """Section 5.3: each head's gain per time its output is added, with two standard errors."""
    figure = go.Figure()
    colors = {
        "self-repressing": COLORS[6],
        "neither": "#8a8f98",
        "self-reinforcing": COLORS[2],
        "not labelled: too few clusters": "#8a8f98",
    }
    place = {name: i for i, name in enumerate(frame["name"])}
    for kind, color in colors.items():
        own = frame[frame["kind"].fillna("not labelled: too few clusters") == kind]
        if own.empty:
            continue
        figure.add_scatter(
            x=[place[name] for name in own["name"]],
            y=own["relative_slope"],
            error_y={
                "array": 2 * own["relative_slope_se"],
                "thickness": 1,
                "width": 0,
                "color": QUIET,
            },
            mode="markers",
            name=f"{kind} ({len(own)})",
            marker={"size": 7, "color": color},
            customdata=np.stack([own["layer"], own["head"]], axis=-1),
            hovertemplate=(
                "<b>L%{customdata[0]}H%{customdata[1]}</b><br>gains %{y:.3f} of its direct effect "
                "per time<extra>%{fullData.name}</extra>"
            ),
        )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1})
    plain(figure, 420, x="heads, the most self-repressing first", y="relative slope")
    return figure.update_xaxes(showticklabels=False)


def against(frame: pd.DataFrame, ours: str, theirs: str, unit: str) -> go.Figure:
    """The authors' published number of each head (x) beside this run's (y), and the line y = x."""
    both = pd.concat([frame[ours], frame[theirs]]).dropna()
    ends = [float(both.min()), float(both.max())] if len(both) else [0.0, 1.0]
    figure = go.Figure()
    figure.add_scatter(
        x=ends, y=ends, mode="lines", name="the same", line={"color": QUIET, "dash": "dash"}
    )
    figure.add_scatter(
        x=frame[theirs],
        y=frame[ours],
        mode="markers",
        name="heads",
        marker={"size": 8, "color": frame["layer"], "colorscale": DEPTH_SCALE},
        customdata=np.stack([frame["layer"], frame["head"]], axis=-1),
        hovertemplate=(
            "<b>L%{customdata[0]}H%{customdata[1]}</b><br>authors %{x:.3f}<br>"
            "this run %{y:.3f}<extra></extra>"
        ),
    )
    return plain(figure, 420, x=f"the authors'{unit}", y=f"this run{unit}")


def _diagonal(figure: go.Figure, frame: pd.DataFrame, x: str, y: str, name: str) -> None:
    both = pd.concat([frame[x], frame[y]]).dropna()
    ends = [float(both.min()), float(both.max())] if len(both) else [0.0, 1.0]
    figure.add_scatter(
        x=ends,
        y=ends,
        mode="lines",
        name=name,
        line={"color": QUIET, "dash": "dash", "width": 1.5},
        hoverinfo="skip",
    )

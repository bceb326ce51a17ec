"""Figures of the last MLP layer's neurons: pure functions of rows, named like their views."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from selfrepair.app.charts.detail_charts import no_change
from selfrepair.app.charts.run_charts import BOTH_MARKS, COLORS, QUIET, largest_of, plain
from selfrepair.app.wording import words

# Lines are told apart without colours too: in print, and by whoever sees few.
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x")
END = 50  # neurons at an end of the cumulative curve that is drawn one by one


def top_repairing_neuron(frame: pd.DataFrame) -> go.Figure:
    """Fig. 7: clean against ablated direct effect of each token's most repairing neuron."""
    figure = go.Figure()
    no_change(figure, frame, "direct_effect", "direct_effect_ablated", "y = x: no change")
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


def repairing_neuron_frequency(frame: pd.DataFrame) -> go.Figure:
    """Fig. 8: share of rows in which the Nth most repairing neuron repairs that much."""
    figure = go.Figure()
    thresholds = sorted(frame["threshold"].unique(), reverse=True)
    for i, threshold in enumerate(thresholds):
        own = frame[frame["threshold"] == threshold].sort_values("neuron_rank")
        figure.add_scatter(
            x=own["neuron_rank"],
            y=own["share"],
            mode="lines+markers",
            name=f"more than {words.share(float(threshold))}",
            line={
                "color": COLORS[i % len(COLORS)],
                "width": 2,
                "dash": DASHES[i % len(DASHES)],
            },
            marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 7},
            hovertemplate="neuron number %{x}: %{y:.1%} of the rows<extra>%{fullData.name}</extra>",
        )
    plain(figure, 420, x="N: the Nth most repairing neuron", y="share of the top rows")
    return figure.update_yaxes(tickformat=".0%", range=[0, 1.02])


def neuron_cumulative_change(frame: pd.DataFrame) -> go.Figure:
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


def neuron_frequency(frame: pd.DataFrame) -> go.Figure:
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

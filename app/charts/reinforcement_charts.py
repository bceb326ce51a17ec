"""Figures of heads that read their own output: pure functions of rows."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from selfrepair.app.charts.detail_charts import no_change
from selfrepair.app.charts.run_charts import COLORS, QUIET, plain, whiskers


def before_and_after(frame: pd.DataFrame, scales: list[float]) -> go.Figure:
    """Fig. 9 and 19: direct effect before and after the head's own output is added."""
    figure = go.Figure()
    drawn = frame[frame["scale"].isin(scales)]
    no_change(figure, drawn, "direct_effect", "direct_effect_after", "y = x: no change")
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
            error_y=whiskers(2 * own["relative_slope_se"], width=0),
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

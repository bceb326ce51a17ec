"""A head's effect against the logit's change, and the zone of Fig. 2: pure functions of rows."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from selfrepair.app.charts.run_charts import QUIET, ZONE, largest_of, layer_colors, plain
from selfrepair.app.wording import words
from selfrepair.app.wording.kinds import LITTLE, is_little

# What stands below the points of `effects` by its x-axis: of the line y = -x, and of the zone.
ZONE_SAYS = {
    "direct_effect": (
        "y = −x: the logit falls by the direct effect",
        "the paper's zone: it falls by less",
    ),
    "direct_effect_removed": (
        "y = −x: no self-repair",
        "self-repair: the logit falls by less than was removed",
    ),
}


def effects(
    frame: pd.DataFrame, x: str, y: str, height: int = 480, across: str = "direct_effect"
) -> go.Figure:
    """Fig. 2, 20-22: a head's direct effect against its logit change, coloured by layer.

    across: the x-axis, `direct_effect` (the paper's) or `direct_effect_removed`. Heads of which the
    ablation removed less than half are hollow.
    """
    figure = go.Figure()
    zone(figure, frame[across], frame["logit_change"], *ZONE_SAYS[across])
    little = frame["share_removed"].map(is_little).astype(bool)
    for hollow, name in ((False, "heads"), (True, LITTLE)):
        own = frame[little == hollow]
        figure.add_scatter(
            x=own[across],
            y=own["logit_change"],
            mode="markers",
            name=name,
            showlegend=False,
            marker={
                "size": 9,
                "symbol": "circle-open" if hollow else "circle",
                "color": own["layer"],
                "coloraxis": "coloraxis",
                "line": {
                    "width": 1.5 if hollow else 0.5,
                    **({} if hollow else {"color": "rgba(255,255,255,0.6)"}),
                },
            },
            customdata=np.stack(
                [
                    own["layer"],
                    own["head"],
                    own[f"{across}_se"],
                    own["logit_change_se"],
                    own["direct_effect"].map(words.signed),
                    own["direct_effect_removed"].map(words.signed),
                    own["share_removed"].map(words.share),
                    own["kind"].fillna("not labelled"),
                ],
                axis=-1,
            ),
            hovertemplate=(
                "<b>L%{customdata[0]}H%{customdata[1]}</b> (%{customdata[7]})<br>"
                "direct effect %{customdata[4]}, removed %{customdata[5]}: %{customdata[6]}<br>"
                "x %{x:.3f} ± %{customdata[2]:.3f}<br>"
                "logit change %{y:.3f} ± %{customdata[3]:.3f}<extra></extra>"
            ),
        )
    if little.any():  # the colours of the marks are layers; that of the legend is none
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=LITTLE,
            marker={"size": 9, "symbol": "circle-open", "color": QUIET, "line": {"width": 1.5}},
        )
    plain(figure, height, x=x, y=y)
    return figure.update_layout(coloraxis=layer_colors(frame["layer"]))


def zone(
    figure: go.Figure,
    x: "pd.Series[float]",
    y: "pd.Series[float]",
    line: str = "y = −x",
    between: str = "the logit falls by less",
) -> None:
    """The line y = -x, and the zone between it and the x-axis, with what each is called."""
    far = max(largest_of(v.to_numpy(dtype=float)) for v in (x, y)) * 1.08
    low, high = min(0.0, float(x.min()) * 1.08), max(1e-6, float(x.max()) * 1.08)
    for end in (low, high):
        figure.add_scatter(
            x=[0, end, end, 0],
            y=[0, -end, 0, 0],
            mode="lines",
            fill="toself",
            fillcolor=ZONE,
            line={"width": 0},
            hoverinfo="skip",
            name=between,
            showlegend=end == high,
        )
    figure.add_scatter(
        x=[max(low, -far), min(high, far)],
        y=[-max(low, -far), -min(high, far)],
        mode="lines",
        line={"color": QUIET, "dash": "dash", "width": 1.5},
        name=line,
        hoverinfo="skip",
    )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1})
    # The line is drawn as far as there is something beside it, not down to the largest effect.
    lowest = min(1.15 * float(y.min()), -0.35 * high) if len(y) else -1.0
    highest = max(1.15 * float(y.max()), -0.35 * low, 0.05 * high) if len(y) else 1.0
    figure.update_yaxes(range=[lowest, highest])

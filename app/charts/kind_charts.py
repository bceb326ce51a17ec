"""What becomes of what an ablation removes, by head and over a run: pure functions of rows."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from selfrepair.app.charts.run_charts import COLORS, QUIET, diagonal, plain, there, whiskers
from selfrepair.app.wording import words

KINDS = {
    "repaired": COLORS[2],
    "overcorrected": COLORS[1],
    "broken": COLORS[6],
    "neither": "#8a8f98",
    "not removed": COLORS[4],
    "no effect": "#c4c7cd",
    "not labelled": "#8a8f98",
}
PARTS = {
    "share_from_heads": ("by heads", COLORS[0]),
    "share_from_mlps": ("by MLPs", COLORS[1]),
    "share_from_post_norm": ("by the post-norm", COLORS[3]),
    "share_from_layernorm": ("by LayerNorm", COLORS[2]),
    "share_repaired": ("all of it", "#8a8f98"),
}


def by_head(frame: pd.DataFrame) -> go.Figure:
    """What was removed of each head against its self-repair, coloured by kind (head_kinds)."""
    figure = go.Figure()
    removed = frame["direct_effect_removed"].dropna()
    ends = [min(0.0, float(removed.min())), max(0.0, float(removed.max()))] if len(removed) else []
    diagonal(figure, ends, "y = x: all of it is repaired")
    for kind, color in KINDS.items():
        own = frame[frame["kind"].fillna("not labelled") == kind]
        if own.empty:
            continue
        figure.add_scatter(
            x=own["direct_effect_removed"],
            y=own["self_repair"],
            mode="markers",
            name=f"{kind} ({len(own)})",
            marker={
                "size": 8,
                "color": color,
                "symbol": "circle-open" if kind == "not removed" else "circle",
                "line": {"width": 1.5 if kind == "not removed" else 0},
            },
            customdata=np.stack(
                [
                    own["layer"],
                    own["head"],
                    own["direct_effect_removed_se"].map(lambda error: words.number(error, 2)),
                    own["self_repair_se"].map(lambda error: words.number(error, 2)),
                    own["share_removed"].map(words.share),
                ],
                axis=-1,
            ),
            hovertemplate=(
                "<b>L%{customdata[0]}H%{customdata[1]}</b><br>removed %{x:.3f} ± %{customdata[2]}, "
                "%{customdata[4]} of the direct effect<br>self-repair %{y:.3f} ± %{customdata[3]}"
                "<extra>%{fullData.name}</extra>"
            ),
        )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1})
    return plain(figure, 480, x="direct effect removed (logits)", y="self-repair (logits)")


def by_run(frame: pd.DataFrame) -> go.Figure:
    """The share of what is removed that is repaired, and its parts, per ablation (run_repair)."""
    figure = go.Figure()
    for column in there(PARTS, frame):
        name, color = PARTS[column]
        figure.add_bar(
            x=frame["ablation"],
            y=frame[column],
            error_y=whiskers(frame[f"{column}_se"], thickness=1.2, width=4),
            name=name,
            marker={"color": color},
            hovertemplate=f"{name}: %{{y:.1%}}<extra>%{{x}} ablation</extra>",
        )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1})
    figure.update_layout(barmode="group", bargap=0.25)
    plain(figure, 400, y="share of what is removed")
    return figure.update_yaxes(tickformat=".0%")

"""What a head does by position, as a figure from rows of view effects_by_position."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from selfrepair.app.charts.run_charts import COLORS, QUIET, plain, whiskers
from selfrepair.app.wording import words

QUANTITIES = {
    "direct_effect": (COLORS[4], "solid"),
    "direct_effect_removed": (COLORS[4], "dash"),
    "logit_change": (COLORS[6], "solid"),
    "self_repair": (COLORS[0], "solid"),
    "self_repair_from_layernorm": (COLORS[2], "solid"),
}


def by_position(frame: pd.DataFrame) -> go.Figure:
    """Means with their standard errors over the bins, and below them where the top rows are."""
    rows = frame.sort_values("position_from")
    bins = [
        f"{first}" if first == last else f"{first}–{last}"
        for first, last in zip(rows["position_from"], rows["position_to"], strict=True)
    ]
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.78, 0.22], vertical_spacing=0.06)
    for column, (color, dash) in QUANTITIES.items():
        figure.add_scatter(
            row=1,
            col=1,
            x=bins,
            y=rows[column],
            error_y=whiskers(rows[f"{column}_se"], color),
            mode="lines+markers",
            name=words.name(column),
            line={"color": color, "width": 2, "dash": dash},
            marker={"size": 5},
            customdata=pd.concat(
                [rows[f"{column}_se"].map(lambda error: words.number(error, 2)), rows["n_rows"]],
                axis=1,
            ),
            hovertemplate="position %{x}: %{y:.3f} ± %{customdata[0]}, %{customdata[1]} rows"
            "<extra>%{fullData.name}</extra>",
        )
    all_rows, top_rows = rows["n_rows"].sum(), max(int(rows["n_top_rows"].sum()), 1)
    for column, name, color, total in (
        ("n_rows", "of all rows", QUIET, all_rows),
        ("n_top_rows", "of the top rows", COLORS[1], top_rows),
    ):
        figure.add_bar(
            row=2,
            col=1,
            x=bins,
            y=rows[column] / total,
            name=name,
            marker={"color": color, "line": {"width": 0}},
            customdata=rows[column],
            hovertemplate="position %{x}: %{y:.1%}, %{customdata} rows<extra>"
            "%{fullData.name}</extra>",
        )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1}, row=1, col=1)
    plain(figure, 520)
    figure.update_layout(barmode="group", bargap=0.25)
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_xaxes(title="position in the sequence", row=2, col=1)
    figure.update_yaxes(title="mean (logits)", row=1, col=1)
    return figure.update_yaxes(title="share of rows", tickformat=".0%", row=2, col=1)

"""Charts of rows that are of no figure, and the line of no change that several figures have."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from selfrepair.app.charts.run_charts import (
    COLORS,
    DEPTH_SCALE,
    NEGATIVE,
    POSITIVE,
    QUIET,
    diagonal,
    plain,
)
from selfrepair.app.wording import words

MOST_COLORS = 12  # of `any_columns`
MARKS = ("points", "bars", "line")


def bars(frame: pd.DataFrame, *, label: str, value: str) -> go.Figure:
    """Changes in direct effect as horizontal bars, the first row at the top."""
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
    plain(figure, max(240, 24 * len(rows) + 90), x="change in direct effect (logits)")
    # Room for the numbers beside the longest bars.
    ends = [1.3 * min(0.0, float(rows[value].min())), 1.3 * max(0.0, float(rows[value].max()))]
    figure.update_xaxes(range=[ends[0] - 0.12 * ends[1], ends[1] - 0.12 * ends[0]])
    return figure.update_yaxes(type="category")


def against(frame: pd.DataFrame, ours: str, theirs: str, unit: str) -> go.Figure:
    """The authors' published number of each head (x) beside this run's (y), and the line y = x."""
    figure = go.Figure()
    no_change(figure, frame, theirs, ours, "the same")
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


def no_change(figure: go.Figure, frame: pd.DataFrame, x: str, y: str, name: str) -> None:
    both = pd.concat([frame[x], frame[y]]).dropna()
    ends = [float(both.min()), float(both.max())] if len(both) else [0.0, 1.0]
    diagonal(figure, ends, name)


def any_columns(
    rows: pd.DataFrame, x: str, y: str, group: str | None = None, marks: str = "points"
) -> go.Figure:
    """One column against another. group: a column by which marks are coloured. marks: of MARKS."""
    groups = [None] if group is None else list(rows[group].dropna().unique())[:MOST_COLORS]
    figure = go.Figure()
    for i, member in enumerate(groups):
        own = rows if member is None else rows[rows[group] == member]
        color = COLORS[i % len(COLORS)]
        name = str(y if member is None else member)
        if marks == "bars":
            figure.add_bar(x=own[x], y=own[y], name=name, marker_color=color)
        else:
            mode = "lines" if marks == "line" else "markers"
            figure.add_scatter(
                x=own[x], y=own[y], name=name, mode=mode, line_color=color, marker_color=color
            )
    return plain(figure, x=x, y=y)

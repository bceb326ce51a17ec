"""Two heads on the same axes: pure functions of frames of `compare_questions.py`."""

import pandas as pd
import plotly.graph_objects as go

from selfrepair.app.charts.run_charts import COLORS, PARTS, QUIET, plain, whiskers
from selfrepair.app.wording import words

# In logits, so that they share an axis.
QUANTITIES = (
    "direct_effect",
    "direct_effect_removed",
    "logit_change",
    "self_repair",
    *PARTS,
)
SIDES = (COLORS[0], COLORS[1])
DIFFERENCE = COLORS[2]


def present(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows without the post-norm's part where neither side has one."""
    is_part = frame["quantity"] == "self_repair_from_post_norm"
    return frame[~is_part | frame[["one_mean", "other_mean"]].fillna(0).ne(0).any(axis=1)]


def how_paired(frame: pd.DataFrame) -> str:
    """What the error of the difference rests on."""
    if not frame["is_paired"].iloc[0]:
        return "The texts are not the same token by token: the errors are taken as independent."
    return (
        "Both are of the same text, so that the difference is paired: its error is over the "
        f"{int(frame['n_clusters_paired'].max())} clusters' differences."
    )


def means(frame: pd.DataFrame, one: str, other: str) -> go.Figure:
    """Both means of each quantity with their standard errors, and their difference with its own."""
    rows = frame.set_index("quantity")
    rows = rows.loc[[quantity for quantity in QUANTITIES if quantity in rows.index]]
    figure = go.Figure()
    for name, column, error, color, pattern in (
        (one, "one_mean", "one_se", SIDES[0], ""),
        (other, "other_mean", "other_se", SIDES[1], "/"),
        ("difference", "difference", "difference_se", DIFFERENCE, "."),
    ):
        figure.add_bar(
            x=[words.name(quantity) for quantity in rows.index],
            y=rows[column],
            error_y=whiskers(rows[error], thickness=1.2, width=4),
            name=name,
            marker={"color": color, "pattern": {"shape": pattern, "solidity": 0.2}},
            hovertemplate="%{x}: %{y:.3f} ± %{error_y.array:.3f}<extra>%{fullData.name}</extra>",
        )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1})
    figure.update_layout(barmode="group", bargap=0.25)
    return plain(figure, 440, y="logits")

"""Figures of one head's tokens from rows: pure functions, of frames of `head_questions.py`."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from selfrepair.app.charts.effect_charts import zone
from selfrepair.app.charts.run_charts import (
    NEGATIVE,
    POSITIVE,
    QUIET,
    ablation_color,
    plain,
    there,
)
from selfrepair.app.wording import words

FACTORS = (1, 2, 4, 5, 10, 20, 40)  # of bins put together: 1 stays an edge where it was one


def scatter(frame: pd.DataFrame, ablations: list[str]) -> go.Figure:
    """Fig. 3 and 5: a token's direct effect against its logit change, per ablation."""
    drawn = frame[frame["ablation"].isin(ablations)]
    figure = go.Figure()
    zone(figure, drawn["direct_effect"], drawn["logit_change"])
    for ablation in ablations:
        own = drawn[drawn["ablation"] == ablation]
        figure.add_scatter(
            x=own["direct_effect"],
            y=own["logit_change"],
            mode="markers",
            name=f"{ablation} ablation",
            marker={"size": 5, "opacity": 0.55, "color": ablation_color(ablation)},
            customdata=np.stack(
                [
                    own["sequence"],
                    own["position"],
                    own["token_text"].map(_safe),
                    own["target_text"].map(_safe),
                    own["self_repair"],
                ],
                axis=-1,
            )
            if len(own)
            else None,
            hovertemplate=(
                "after “%{customdata[2]}” comes <b>“%{customdata[3]}”</b><br>"
                "direct effect %{x:.3f}<br>logit change %{y:.3f}<br>"
                "self-repair %{customdata[4]:.3f}<br>"
                "sequence %{customdata[0]}, position %{customdata[1]}<extra></extra>"
            ),
        )
    return plain(figure, 440, x="direct effect (logits)", y="logit change (logits)")


def histogram(
    frame: pd.DataFrame,
    *,
    x: str,
    line_at: float | None = None,
    y: str = "share of rows",
    colors: dict[str, str] | None = None,
) -> go.Figure:
    """Bins as steps, one colour an ablation; bins that are not there hold nothing.

    colors: where `ablation` holds other names than those of ablations, what colour each has.
    """
    figure = go.Figure()
    drawn = _coarser(frame)
    for ablation in dict.fromkeys(drawn["ablation"]):
        own = drawn[drawn["ablation"] == ablation].sort_values("bin_start")
        color = colors[ablation] if colors else ablation_color(ablation)
        edges, shares = _steps(own)
        figure.add_scatter(
            x=edges,
            y=shares,
            mode="lines",
            line={
                "color": color,
                "width": 1.5,
                "shape": "hv",
                "dash": "solid" if not colors or ablation == next(iter(colors)) else "dash",
            },
            fill="tozeroy",
            fillcolor=_faint(color),
            name=ablation if colors else f"{ablation} ablation",
            hovertemplate="from %{x:.3f}: %{y:.1%}<extra>" + ablation + "</extra>",
        )
    if line_at is not None:
        figure.add_vline(x=line_at, line={"color": QUIET, "dash": "dash"})
    plain(figure, 340, x=x, y=y)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return figure


def _coarser(bins: pd.DataFrame) -> pd.DataFrame:
    """Bins of one width put together, so that few rows make a shape instead of spikes.

    Some 3 * sqrt(rows) of them, 16 at least, at multiples of the new width; other bins stay.
    """
    width = float((bins["bin_end"] - bins["bin_start"]).median()) if len(bins) else 0.0
    places = bins["bin_start"] / width if width > 0 else None
    if places is None or not np.allclose(places, places.round(), atol=1e-3):
        return bins
    rows = bins.groupby("ablation")["n_rows"].sum().min()
    wanted = max(16.0, 3 * float(rows) ** 0.5)
    span = places.max() - places.min() + 1
    factor = next((f for f in FACTORS if span / f <= wanted), FACTORS[-1])
    numbered = bins.assign(together=(places.round() // factor).astype(int))
    made = numbered.groupby(["ablation", "together"], sort=False, as_index=False).agg(
        {"n_rows": "sum", "share": "sum"}
    )
    starts = made["together"] * factor * width
    return made.assign(bin_start=starts, bin_end=starts + factor * width)


def _steps(bins: pd.DataFrame) -> tuple[list[float], list[float]]:
    """Edges and heights of a step line that falls to 0 between bins that do not touch."""
    edges: list[float] = []
    shares: list[float] = []
    end = None
    for bin_start, bin_end, share in bins[["bin_start", "bin_end", "share"]].itertuples(
        index=False
    ):
        if end is None or bin_start > end + 1e-9 * max(1.0, abs(end)):
            edges += [bin_start] if end is None else [end, bin_start]
            shares += [0.0] if end is None else [0.0, 0.0]
        edges.append(bin_start)
        shares.append(share)
        end = bin_end
    return ([*edges, end], [*shares, 0.0]) if end is not None else ([], [])


def _faint(color: str) -> str:
    """A colour "#rrggbb", nearly transparent."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"


def one_token(frame: pd.DataFrame) -> go.Figure:
    """How one token's logit changed: the direct effect that went, and what came back."""
    steps = {
        "direct_effect": "direct effect removed",
        "self_repair_from_heads": "heads",
        "self_repair_from_mlps": "MLPs",
        "self_repair_from_post_norm": "post-norm",
        "self_repair_from_layernorm": "LayerNorm",
    }
    steps = {name: steps[name] for name in there(steps, frame)}
    figure = go.Figure()
    for row in frame.to_dict("records"):
        removed = row["direct_effect_ablated"] - row["direct_effect"]
        values = [removed, *(row[name] for name in list(steps)[1:]), 0]
        figure.add_waterfall(
            x=[*steps.values(), "logit change"],
            y=values,
            measure=["relative"] * len(steps) + ["total"],
            name=f"{row['ablation']} ablation",
            text=[words.signed(v) for v in [*values[:-1], row["logit_change"]]],
            textposition="outside",
            cliponaxis=False,
            connector={"line": {"color": QUIET, "width": 1}},
            increasing={"marker": {"color": POSITIVE}},
            decreasing={"marker": {"color": NEGATIVE}},
            totals={"marker": {"color": "#8a8f98"}},
            hovertemplate="%{x}: %{text}<extra>" + row["ablation"] + "</extra>",
        )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1})
    return plain(figure, 340, y="change of the target's logit (logits)")


def _safe(text: str) -> str:
    """A token in a tooltip, where angle brackets would be markup and braces a template."""
    return words.token(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

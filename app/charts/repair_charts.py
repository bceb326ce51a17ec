"""Who repairs whom, as a matrix whose colours no single cell decides: a pure function of rows."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from selfrepair.app.charts.run_charts import BOTH_DARK, BOTH_LIGHT, largest_of, plain
from selfrepair.app.wording import words
from selfrepair.app.wording.kinds import is_little, little_removed

FULL_COLOR = 0.98  # quantile of the absolute values beyond noise that gets the full colour
FAINT = 0.3  # opacity of a cell that noise may explain

Link = Callable[[str], str | None]


def full_color(frame: pd.DataFrame) -> float:
    """The absolute change that gets the full colour: of the cells beyond noise, else of all."""
    clear = frame[frame["beyond_noise"]]
    values = (clear if len(clear) else frame)["direct_effect_change"].abs().dropna()
    end = float(values.quantile(FULL_COLOR)) if len(values) else 0.0
    return end if end > 0 else largest_of(frame["direct_effect_change"].to_numpy(dtype=float))


def who_repairs_whom(frame: pd.DataFrame, *, dark: bool, link: Link | None = None) -> go.Figure:
    """A cell per ablated head (row) and repairing component (column), empty where there is none.

    What is within noise is faint; what is beyond the colours has an arrow. Rows are the heads in
    the frame's order from the top, columns the components by layer. link: the address that a name
    of a head or component leads to; None for none.
    """
    heads = list(dict.fromkeys(frame["ablated"]))
    by_layer = frame.sort_values(["component_layer", "component_head"], na_position="last")
    components = list(dict.fromkeys(by_layer["repairer"]))
    largest = full_color(frame)
    little = set(frame.loc[frame["share_removed"].map(is_little).astype(bool), "ablated"])
    figure = go.Figure()
    for clear in (False, True):
        own = frame[frame["beyond_noise"] == clear]
        cells = own.pivot(index="ablated", columns="repairer", values="direct_effect_change")
        figure.add_heatmap(
            z=cells.reindex(index=heads, columns=components).to_numpy(dtype=float),
            x=components,
            y=heads,
            colorscale=BOTH_DARK if dark else BOTH_LIGHT,
            zmin=-largest,
            zmax=largest,
            opacity=1 if clear else FAINT,
            xgap=1,
            ygap=1,
            showscale=clear,
            colorbar={"title": {"text": "logits"}, "thickness": 12, "outlinewidth": 0},
            hoverinfo="skip",
        )
    # Heat map cells cannot be clicked in every browser; a mark on each one can, and says its words.
    figure.add_scatter(
        x=frame["repairer"],
        y=frame["ablated"],
        mode="markers",
        showlegend=False,
        marker={"size": 14, "symbol": "square", "color": "rgba(0,0,0,0)"},
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
        customdata=np.stack(
            [
                frame["layer"],
                frame["head"],
                frame["direct_effect_change"].map(words.signed),
                frame["direct_effect_change_se"].map(lambda error: words.number(error, 2)),
                frame["direct_effect_change_trimmed"].map(words.signed),
                frame["n_rows"],
                frame["n_clusters"],
                np.where(frame["beyond_noise"], "", "<br>within noise"),
                [
                    f"<br>of {name}: {said}" if (said := little_removed(share)) else ""
                    for name, share in zip(frame["ablated"], frame["share_removed"], strict=True)
                ],
            ],
            axis=-1,
        ),
        hovertemplate=(
            "<b>%{x}</b>, when <b>%{y}</b> is ablated<br>%{customdata[2]} ± %{customdata[3]} logits"
            "<br>trimmed mean %{customdata[4]}<br>%{customdata[5]} tokens of %{customdata[6]} "
            "clusters%{customdata[7]}%{customdata[8]}<extra></extra>"
        ),
    )
    beyond = frame[frame["direct_effect_change"].abs() > largest]
    figure.add_scatter(
        x=beyond["repairer"],
        y=beyond["ablated"],
        mode="text",
        text=np.where(beyond["direct_effect_change"] > 0, "▲", "▼"),
        textfont={
            "size": 9,
            "color": np.where(beyond["beyond_noise"] == dark, "#000000", "#ffffff"),
        },
        showlegend=False,
        hoverinfo="skip",
    )
    plain(
        figure,
        max(320, 18 * len(heads) + 130),
        x="repairing component, by layer",
        y="ablated head, the most self-repaired first",
    )
    for axes, names in ((figure.update_xaxes, components), (figure.update_yaxes, heads)):
        axes(
            type="category",
            showgrid=False,
            fixedrange=True,  # what zooms an axis would lie over the links on it
            tickvals=names,
            ticktext=[
                ("○ " if name in little and names is heads else "") + _linked(name, link)
                for name in names
            ],
            range=[-0.5, len(names) - 0.5],
        )
    figure.update_xaxes(tickangle=-90)
    return figure.update_yaxes(range=[len(heads) - 0.5, -0.5])


def _linked(name: str, link: Link | None) -> str:
    """A name on an axis, which leads somewhere where there is an address."""
    address = link(name) if link else None
    return f'<a href="{address}" target="_self">{name}</a>' if address else name


def made_by_few(frame: pd.DataFrame) -> pd.DataFrame:
    """The pairs whose trimmed mean is more than one standard error away from the mean."""
    apart = (frame["direct_effect_change"] - frame["direct_effect_change_trimmed"]).abs()
    pairs = frame.assign(apart=apart)[apart > frame["direct_effect_change_se"]]
    return pairs.sort_values("apart", ascending=False)


CAPTION = (
    f"The colours end where {words.share(FULL_COLOR)} of the absolute changes beyond two standard "
    "errors do; ▲ ▼: beyond that. Faint: within two standard errors of 0. ○ before a head: the "
    "ablation removed less than half of its direct effect, so that its self-repair says little."
)

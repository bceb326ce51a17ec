"""Places of heads by direct effect and by ablation: a pure function of rows."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from selfrepair.app.charts.run_charts import COLORS, diagonal, plain
from selfrepair.app.wording import words
from selfrepair.app.wording.trust_words import WHY

COLORS_OF = dict(zip(WHY, (COLORS[1], COLORS[0], COLORS[3]), strict=True))
UNSURE = "#8a8f98"


def ranks(frame: pd.DataFrame) -> go.Figure:
    """Section 5.1: a head's place by direct effect against that by ablation, coloured by why.

    frame: rows of ablation_trust.
    """
    figure = go.Figure()
    diagonal(figure, [1, len(frame) + 1], "the same place")
    known = bool(frame["ranks_differ"].notna().any())
    unsure = "text alone may explain it" if known else "not labelled: too few clusters"
    for why, color in [(unsure, UNSURE), *COLORS_OF.items()]:
        own = frame[frame["misplaced"].fillna(unsure) == why]
        name = f"{why} ({len(own)})"
        if own.empty:
            continue
        figure.add_scatter(
            x=own["rank_by_direct_effect"],
            y=own["rank_by_ablation"],
            mode="markers",
            name=name,
            marker={"size": 8, "color": color, "opacity": 0.8},
            customdata=np.stack(
                [
                    own["layer"],
                    own["head"],
                    own["share_removed"].map(words.share),
                    own["share_hidden"].map(words.share),
                ],
                axis=-1,
            ),
            hovertemplate=(
                "<b>L%{customdata[0]}H%{customdata[1]}</b><br>%{x} by direct effect, "
                "%{y} by ablation<br>removed: %{customdata[2]} of the direct effect<br>"
                "hidden: %{customdata[3]} of that<extra></extra>"
            ),
        )
    return plain(
        figure,
        480,
        x="place by direct effect (1: the largest)",
        y="place by ablation (1: the logit falls most)",
    )

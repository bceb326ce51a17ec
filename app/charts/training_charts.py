"""What a model's layers do step by step of its training: a pure function of rows."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from selfrepair.app.charts.run_charts import DEPTH_SCALE, QUIET, layer_colors, plain, whiskers
from selfrepair.app.wording import words


def over_training(frame: pd.DataFrame, quantity: str, y: str) -> go.Figure:
    """Fig. 1, 6 and 11 over training: a line per layer, steps evenly spaced, with standard errors.

    frame: rows of layers_over_training, of one series and ablation.
    """
    figure = go.Figure()
    steps = [f"{step:,}" for step in sorted(frame["step"].unique())]
    layers = sorted(frame["layer"].unique())
    places = list(np.linspace(0, 1, len(layers)))
    for layer, color in zip(layers, sample_colorscale(DEPTH_SCALE, places), strict=True):
        own = frame[frame["layer"] == layer].sort_values("step")
        figure.add_scatter(
            x=own["step"].map("{:,}".format),
            y=own[quantity],
            error_y=whiskers(own[f"{quantity}_se"], color),
            mode="lines+markers",
            name=f"layer {layer}",
            showlegend=False,
            line={"color": color, "width": 2},
            marker={"size": 6, "color": own["layer"], "coloraxis": "coloraxis"},
            customdata=np.stack(
                [own["run_id"], own[f"{quantity}_se"].map(lambda error: words.number(error, 2))],
                axis=-1,
            ),
            hovertemplate="%{customdata[0]}<br>%{y:.3f} ± %{customdata[1]}"
            "<extra>%{fullData.name}</extra>",
        )
    figure.add_hline(y=0, line={"color": QUIET, "width": 1})
    plain(figure, 480, x="step of training (evenly spaced)", y=y)
    figure.update_layout(coloraxis=layer_colors(frame["layer"]))
    return figure.update_xaxes(type="category", categoryorder="array", categoryarray=steps)

"""Every chart as it stands on a page: nothing cut, type that can be read, told apart in grey."""

from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.container import BarContainer
from matplotlib.figure import Figure as Page
from matplotlib.text import Text

from selfrepair.app.charts.run_charts import DEPTH_SCALE
from selfrepair.app.figures import registry
from selfrepair.app.questions.subject import Subject
from selfrepair.paper import looks, page
from selfrepair_assets.measurement.errors import InputError
from tests.helpers.runs import app_runs
from tests.paper.conftest import RUN

OTHER = {"other_run": RUN, "other_ablation": "mean", "other_head": "L2H1"}
AT = {"sequence": 0, "position": 1}
ABLATIONS = [f"{name} ablation" for name in app_runs.ABLATIONS]
CHOSEN: dict[str, Any] = {
    "one token": AT,
    "one token, components": AT,
    "one token, neurons": AT,
    "compared": OTHER,
    "compared, token by token": OTHER,
}
# Figures that are drawn alike are one; tests/training has those of a series.
NAMES = [
    name
    for name in {id(one): name for name, one in reversed(registry.CHARTS.items())}.values()
    if not name.endswith("over training")
]


def drawn(name: str, subject: Subject, width: str) -> Page:
    chart = registry.draw(name, subject, **CHOSEN.get(name, {})).chart
    with mpl.rc_context(looks.STYLE):
        figure = page._drawn(chart, width)
        figure.draw_without_rendering()
    return figure


def texts(figure: Page) -> list[Text]:
    return [
        t for t in figure.findobj(Text) if isinstance(t, Text) and t.get_visible() and t.get_text()
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_chart_fits_a_column_and_its_type_can_be_read(name: str, subject: Subject) -> None:
    figure = drawn(name, subject, "column")
    assert figure.get_size_inches()[0] == pytest.approx(3.25)
    assert figure.get_size_inches()[1] <= looks.HIGHEST
    assert any(axes.has_data() for axes in figure.axes)
    drawn_on = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert 0 <= drawn_on.x0 < drawn_on.x1 <= width
    assert 0 <= drawn_on.y0 < drawn_on.y1 <= height
    for text in texts(figure):
        assert float(text.get_fontsize()) >= looks.SMALLEST or set(text.get_text()) <= set("▲▼○"), (
            text
        )


@pytest.mark.parametrize("name", ["1", "8", "who repairs whom"])
def test_the_files_are_of_the_width_and_the_same_every_time(name: str, subject: Subject) -> None:
    chart = registry.draw(name, subject).chart
    files = page.printed(chart, "double", "what it <shows>")
    root = ElementTree.fromstring(files["svg"])
    assert root.attrib["width"] == "486pt"
    assert "what it <shows>" in "".join(root.itertext())
    assert files["pdf"].startswith(b"%PDF")
    assert b"/MediaBox [ 0 0 486 " in files["pdf"]
    assert b"/Type3" not in files["pdf"]
    assert page.printed(chart, "double", "what it <shows>") == files


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(InputError, match="a chart with pie cannot be drawn on paper"):
        page.printed(go.Figure(go.Pie(values=[1, 2])), "column")


def grey(color: object) -> float:
    return float(np.dot(mpl.colors.to_rgb(color), (0.299, 0.587, 0.114)))  # type: ignore[arg-type]


def test_series_differ_in_more_than_hue(subject: Subject) -> None:
    """Lines by their dashes, marks by their shapes, bars by their hatches."""
    lines = drawn("8", subject, "column").axes[0].lines
    named = [line for line in lines if str(line.get_label()).startswith("more than")]
    looks_of = {(str(vars(line)["_dash_pattern"]), str(line.get_marker())) for line in named}
    assert len(named) == len(looks_of) == 5
    bars = drawn("parts", subject, "column").axes[0].containers
    hatches = [bar.patches[0].get_hatch() for bar in bars if isinstance(bar, BarContainer)]
    assert len(set(hatches)) == len(hatches) >= 4
    dots = drawn("5", subject, "column").axes[0].collections
    shapes = {np.shape(one.get_paths()[0].vertices) for one in dots if one.get_label() in ABLATIONS}
    assert len(shapes) == 3


@pytest.mark.parametrize("scale", [looks.RISING, looks.SIGNED])
def test_a_scale_on_paper_is_one_of_grey(scale: mpl.colors.Colormap) -> None:
    steps = [grey(scale(x)) for x in np.linspace(0, 1, 9)]
    assert steps == sorted(steps) or steps == sorted(steps, reverse=True)
    assert min(abs(a - b) for a, b in pairwise(steps)) > 0.03


def test_traces_that_share_a_scale_of_colours_are_coloured_alike() -> None:
    marks = [{"color": [n], "coloraxis": "coloraxis"} for n in (0, 5, 10)]
    chart = go.Figure([go.Scatter(x=[1], y=[1], mode="markers", marker=mark) for mark in marks])
    chart.update_layout(coloraxis={"colorscale": DEPTH_SCALE, "colorbar": {"title": "layer"}})
    with mpl.rc_context(looks.STYLE):
        axes, bar = page._drawn(chart, "column").axes
    found = [one.get_facecolor()[0] for one in axes.collections]
    assert np.allclose(found, [looks.RISING(x) for x in (0.0, 0.5, 1.0)])
    assert bar.get_ylim() == (0, 10)


def test_a_name_is_never_markup_or_formula() -> None:
    chart = go.Figure(go.Bar(x=["$x_1$", "a<b>b</b>"], y=[1, 2], marker_color="red"))
    svg = page.printed(chart, "column")["svg"]
    assert b"<b>" not in svg
    figure = go.Figure(go.Scatter(x=["$$"], y=[1], mode="markers", marker_color="red"))
    assert page.printed(figure, "column")["pdf"]

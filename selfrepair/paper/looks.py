"""How a figure looks on paper: widths, sizes of type, and marks that grey print tells apart."""

import re
from collections.abc import Sequence
from typing import Any

from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgba

from selfrepair.app.charts.run_charts import BOTH_MARKS, DEPTH_SCALE

WIDTHS = {"column": 3.25, "double": 6.75}
"""Inches: one column of a page of two, and both with the gap between them (ICML, ACL)."""
HEIGHTS = {"column": 2.3, "double": 2.9}
"""Inches of a chart that is `SCREEN` pixels high on the screen."""
SCREEN = 480
LOWEST, HIGHEST = 1.8, 8.2  # inches; the highest leaves room for a caption on the page

STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.4,
    "text.parse_math": False,  # a token may be a dollar
    "pdf.fonttype": 42,  # TrueType, which journals ask for
    "svg.fonttype": "path",  # drawn, so that no reader needs the font
    "svg.hashsalt": "selfrepair",  # the same chart makes the same file
}
SMALLEST = 5.0  # points of type that can still be read

POINTS = 0.45
"""Points on paper of a pixel on the screen, of marks and of lines."""
SYMBOLS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "x": "X"}
ORDER = ("o", "s", "^", "D", "v", "P", "X")
"""Marks where a chart's own are all circles: of the first named trace, of the second, and so on."""
DASHES: dict[str, Any] = {
    "solid": "-",
    "dash": (0, (4, 2)),
    "dot": (0, (1, 1.5)),
    "dashdot": (0, (4, 1.5, 1, 1.5)),
    "longdash": (0, (7, 2)),
}
HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++")

RISING = LinearSegmentedColormap.from_list("rising", ["#bcc7ea", "#5f78c4", "#14245c"])
SIGNED = LinearSegmentedColormap.from_list("signed", ["#14245c", "#8f8f99", "#ffbe7d"])
PRINTED = ((DEPTH_SCALE, RISING), (BOTH_MARKS, SIGNED))
"""Scales whose colours print as one grey, and what they are on paper: from light to dark, or from
dark below 0 to light above it."""


def color(text: str) -> tuple[float, float, float, float]:
    """A CSS colour, `#rrggbb`, a name, `rgb(...)` or `rgba(...)`, as numbers from 0 to 1."""
    found = re.fullmatch(r"rgba?\((.+)\)", text)
    if not found:
        return to_rgba(text)
    red, green, blue, *alpha = (float(number) for number in found[1].split(","))
    return (red / 255, green / 255, blue / 255, alpha[0] if alpha else 1.0)


def scale(steps: Sequence[Sequence[Any]]) -> Colormap:
    """A Plotly colour scale, as it is on paper."""
    steps = [list(step) for step in steps]
    for screen, printed in PRINTED:
        if steps == screen:
            return printed
    return LinearSegmentedColormap.from_list("", [(place, color(text)) for place, text in steps])

"""What a paper needs of a chart, in a menu beside it: its files, a caption, the Python."""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from selfrepair import extras
from selfrepair_assets.measurement.errors import InputError

if TYPE_CHECKING:
    from selfrepair.paper.figure import PaperFigure

ForPaper = Callable[[str], "PaperFigure"]
"""Makes a figure for a paper of a width: "column" or "double"."""

WIDTHS = {"column": "one column", "double": "two columns"}
KINDS = {"pdf": "application/pdf", "svg": "image/svg+xml"}


def makers() -> ModuleType:
    """What makes figures for a paper; it needs Matplotlib, and is loaded when first asked for."""
    from selfrepair.paper import figure

    return figure


def menu(paper: ForPaper, key: str, place: DeltaGenerator) -> None:
    """The menu of the chart of that key; nothing is made of it before it is opened."""
    opened: Any = place.popover(
        "Paper",
        icon=":material/picture_as_pdf:",
        help="SVG and PDF at the width of a column, a caption, and the Python that draws it.",
        key=f"paper:{key}",
        on_change="rerun",
    )
    if not opened.open:
        return
    with opened:
        try:
            extras.require("paper", "a figure for a paper")
        except InputError as error:
            st.info(str(error), icon=":material/extension_off:")
            return
        made = {width: paper(width) for width in WIDTHS}
        for width, figure in made.items():
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(WIDTHS[width])
                for kind, mime in KINDS.items():
                    st.download_button(
                        kind.upper(),
                        partial(_file, figure, kind),
                        f"{figure.name}.{kind}",
                        mime,
                        key=f"{kind}:{width}:{key}",
                        icon=":material/download:",
                        on_click="ignore",
                    )
        st.caption("Caption")
        st.code(made["column"].caption, language=None, wrap_lines=True)
        st.caption("Python")
        st.code(made["column"].python, language="python")


def _file(figure: "PaperFigure", kind: str) -> bytes:
    return figure.files()[kind]

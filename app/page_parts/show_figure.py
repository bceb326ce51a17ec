"""A figure of the registry on a page: its title and caption are the same wherever it stands."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from selfrepair.app.figures import registry
from selfrepair.app.page_parts import paper_menu, show, state
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import words

PICTURE = {
    "displaylogo": False,
    "displayModeBar": "hover",
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
}


def show_figure(
    name: str,
    subject: Subject,
    *,
    click: str = "",
    key: str = "",
    columns: Sequence[str] = (),
    border: bool = True,
    link_to_paper: bool = True,
    **options: Any,
) -> list[Any] | None:
    """A figure with its SQL and data, a link to what the paper says of it, and what a paper needs.

    Gives the customdata of the mark that was clicked, if any. Where the figure has no rows of the
    subject, a line says so.

    click: what a click on a mark does, in words; "" where it does nothing. key: of the chart and
    its files, where the figure's name is not enough. columns: those that it draws, where a choice
    decides. border: False where the caller has one around the figure and what it is chosen with.
    options: the figure's own.
    """
    figure = registry.CHARTS[name]
    themed = {"dark": show.is_dark()} if figure.follows_theme else {}
    drawn = registry.draw(name, subject, **options, **themed)
    title = registry.title(name, subject, drawn)
    if drawn.answer.frame.empty:
        view = registry.entries(subject.generation)[name].view
        show.not_there(f"{title}, for this choice", [view], "Choose another.")
        return None
    key = key or f"figure_{words.name(name).replace(', ', '_').replace(' ', '_')}"
    with st.container(border=border):
        above = st.container(horizontal=True, vertical_alignment="center")
        with above:
            told = show.defined(subject.generation, columns or figure.columns, figure.relation)
            show.heading(title, told)
        paper_menu.menu(
            lambda width: paper_menu.makers().for_paper(name, subject, width, options), key, above
        )
        picture = PICTURE | {"toImageButtonOptions": {"format": "png", "scale": 2, "filename": key}}
        event: Any = st.plotly_chart(
            drawn.chart,
            key=f"chart:{key}",
            config=picture,
            on_select="rerun" if click else "ignore",
            selection_mode="points",
        )
        st.caption(f"{drawn.caption} {click}".strip())
        if link_to_paper and name in registry.FIGURES:
            beside = f"{words.figure(name)} beside the paper"
            state.link("paper", beside, icon=":material/article:", figure=name)
        show.behind(drawn.answer, key)
    points = event["selection"]["points"] if click else []
    return _data_of(points[0]) if points else None


def _data_of(point: dict[str, Any]) -> list[Any] | None:
    """A selected mark's customdata; what was an array comes back as {"0": ..., "1": ...}."""
    data = point.get("customdata")
    if isinstance(data, dict):
        return [data[key] for key in sorted(data, key=int)]
    if isinstance(data, list | tuple):
        return list(data)
    return None if data is None else [data]

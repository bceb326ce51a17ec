"""A figure of the registry on a page: its title and caption are the same wherever it stands."""

from typing import Any

from selfrepair.app.figures import registry
from selfrepair.app.page_parts import show
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import words


def show_figure(
    name: str,
    subject: Subject,
    *,
    click: str = "",
    key: str = "",
    border: bool = True,
    link_to_paper: bool = True,
    **options: Any,
) -> list[Any] | None:
    """The figure, and a link to what the paper says of it; the data of the mark that was clicked.

    Where it has no rows of the subject, a line says so.

    click: what a click on a mark does, in words; "" where it does nothing. key: of the chart and
    its files, where the figure's name is not enough. options: the figure's own.
    """
    figure = registry.FIGURES[name]
    if figure.follows_theme:
        options["dark"] = show.is_dark()
    entry = registry.entries(subject.generation)[name]
    drawn = registry.draw(name, subject, **options)
    if drawn.answer.frame.empty:
        show.not_there(f"{entry.heading}, for this choice", [entry.view], "Choose another.")
        return None
    return show.chart(
        drawn.title or entry.heading,
        drawn.chart,
        drawn.answer,
        key=key or f"figure_{words.name(name).replace(', ', '_').replace(' ', '_')}",
        caption=f"{drawn.caption} {click}".strip(),
        definitions=show.defined(subject.generation, figure.columns, figure.relation),
        figure=name if link_to_paper else "",
        clickable=bool(click),
        border=border,
    )

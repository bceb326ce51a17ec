"""A figure of the registry on a page: its title and caption are the same wherever it stands."""

from collections.abc import Sequence
from typing import Any

from selfrepair.app.figures import registry
from selfrepair.app.page_parts import paper_menu, show
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import words


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
    """The figure, and a link to what the paper says of it; the data of the mark that was clicked.

    Where it has no rows of the subject, a line says so.

    click: what a click on a mark does, in words; "" where it does nothing. key: of the chart and
    its files, where the figure's name is not enough. columns: those that it draws, where a choice
    decides. options: the figure's own.
    """
    figure = registry.CHARTS[name]
    themed = {"dark": show.is_dark()} if figure.follows_theme else {}
    drawn = registry.draw(name, subject, **options, **themed)
    title = registry.title(name, subject, drawn)
    if drawn.answer.frame.empty:
        view = registry.entries(subject.generation)[name].view
        show.not_there(f"{title}, for this choice", [view], "Choose another.")
        return None
    return show.chart(
        title,
        drawn.chart,
        drawn.answer,
        key=key or f"figure_{words.name(name).replace(', ', '_').replace(' ', '_')}",
        caption=f"{drawn.caption} {click}".strip(),
        definitions=show.defined(subject.generation, columns or figure.columns, figure.relation),
        figure=name if link_to_paper and name in registry.FIGURES else "",
        clickable=bool(click),
        border=border,
        paper=paper_menu.of_figure(name, subject, options),
    )

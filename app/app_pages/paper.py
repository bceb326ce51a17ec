"""Paper: every figure by its number, ours beside what the paper reports, with the query."""

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from selfrepair.app.figures import registry
from selfrepair.app.figures.registry import FIGURES, Entry
from selfrepair.app.page_parts import authors, show, state, surroundings
from selfrepair.app.page_parts.show_figure import show_figure
from selfrepair.app.questions import queries, run_questions
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import words


def page() -> None:
    generation = surroundings.generation_or_stop("Paper")
    st.title("Beside the paper")
    entries = {
        name: entry
        for name, entry in registry.entries(generation).items()
        # One beyond the paper may be of a part that no model here has.
        if name not in FIGURES
        or not entry.is_beyond_paper
        or not queries.lacking(generation, entry.view)
    }
    name = state.pick_one(
        "Figure", "figure", list(entries), "1", shown=lambda name: entries[name].heading
    )
    entry, figure = entries[name], FIGURES.get(name)
    subject = surroundings.picked(
        generation,
        with_head=figure is not None and figure.of_head,
        only=lambda subject: registry.heads_of(name, subject),
        rather=lambda subject: [entry.head_of(subject.run)],
    )
    if figure is None:
        _rows_only(subject, entry)
        return
    if queries.lacking(generation, entry.view):
        show.not_there(entry.heading, [entry.view], "Measure a run that keeps it.")
        return
    with _beside_the_paper(subject, entry):
        show_figure(name, subject, link_to_paper=False)
    authors.beside(subject)


@contextmanager
def _beside_the_paper(subject: Subject, entry: Entry) -> Iterator[None]:
    """The place for ours; beside it what the paper says, and how to ask for it."""
    ours, theirs = st.columns([3, 1])
    with theirs.container(border=True):
        st.markdown("##### The paper")
        st.markdown(entry.claim)
        st.markdown(f"**Rows:** {entry.rows}")
        if entry.parameters:
            st.markdown(f"**Can be chosen otherwise:** {entry.parameters}")
        if entry.note:
            st.markdown("**Differs here:**\n" + words.bullets(entry.note))
        st.markdown(
            f"**Ask it yourself:** `from {entry.view}`",
            help=queries.relations(subject.generation).get(entry.view),
        )
    with ours:
        yield


def _rows_only(subject: Subject, entry: Entry) -> None:
    """A figure that no chart draws: the rows of its view."""
    answer = None
    if not queries.lacking(subject.generation, entry.view):
        answer = run_questions.rows_of(subject, entry.view)
    with _beside_the_paper(subject, entry):
        if answer is not None and len(answer.frame):
            show.table(
                entry.heading,
                answer,
                subject.generation,
                key="paper_rows",
                relation=entry.view,
                frame=answer.frame.drop(columns="run_id"),
                caption=f"The first {len(answer.frame):,} rows of `{entry.view}`.",
            )
        elif entry.figure.startswith("published numbers"):
            st.info(
                f"The authors published no numbers of {subject.run}. They did of "
                f"{', '.join(run_questions.authors_models(subject.generation))}: measure one of "
                "those.",
                icon=":material/hourglass_empty:",
            )
        else:
            show.not_there(entry.heading, [entry.view], "Measure a run that keeps it.")


page()

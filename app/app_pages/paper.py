"""Paper: every figure by its number, ours beside what the paper reports, with the query."""

from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import streamlit as st

from selfrepair.app.figures import figures
from selfrepair.app.figures.drawn import Look
from selfrepair.app.figures.paper_claims import PAPER, head_of
from selfrepair.app.page_parts import authors, frame, show, state
from selfrepair.app.questions import queries, run_questions
from selfrepair.app.wording import words


def title_of(row: pd.Series) -> str:
    """`Figure 4: Histogram of …`, `Section 2.3: …`."""
    return f"{words.figure(row['figure'])}: {row['title']}"


def page() -> None:
    serving = frame.serving_or_stop("Paper")
    st.title("Beside the paper")
    index = run_questions.figures(serving)
    known = index.frame.set_index("figure", drop=False)
    number = state.one_of(
        "Figure",
        "figure",
        list(known.index),
        "1",
        shown=lambda figure: title_of(known.loc[figure]),
    )

    def heads(run: str, ablation: str) -> list[str]:
        return figures.heads_of(serving, number, run, ablation)

    run, ablation, layer, head = frame.picked(
        serving,
        with_head=number in figures.OF_ONE_HEAD,
        heads=heads,
        rather=lambda run, ablation: [head_of(number, run) or ""],
    )
    told = known.loc[number]
    if number not in figures.DRAWN_BY:
        _rows_only(serving, told, run)
        return
    if queries.lacking(serving, told["view"]):
        show.not_there(title_of(told), [told["view"]], "Measure a run that keeps it.")
        return
    drawn = figures.DRAWN_BY[number](
        serving, number, Look(run, ablation, layer, head, show.is_dark())
    )
    if drawn.answer.frame.empty:
        show.not_there(f"{title_of(told)}, for this run and head", [told["view"]], "Choose others.")
        return
    with _beside_the_paper(told):
        show.chart(
            title_of(told),
            drawn.figure,
            drawn.answer,
            key=f"paper_{words.name(number).replace(' ', '_')}",
            caption=f"{run}, {ablation} ablation. {drawn.caption}",
            definitions=queries.relations(serving).get(told["view"], ""),
        )
    if not queries.lacking(serving, "beside_paper"):
        authors.beside(serving, run)


@contextmanager
def _beside_the_paper(told: pd.Series) -> Iterator[None]:
    """The place for ours; beside it what the paper says, and how to ask for it."""
    ours, theirs = st.columns([3, 1])
    with theirs.container(border=True):
        st.markdown("##### The paper")
        st.markdown(PAPER.get(told["figure"], "Names no number for it."))
        st.markdown(f"**Rows:** {told['rows']}")
        if pd.notna(told["parameters"]):
            st.markdown(f"**Can be chosen otherwise:** {told['parameters']}")
        if pd.notna(told["note"]):
            st.markdown("**Differs here:**\n" + words.bullets(told["note"]))
        st.markdown(f"**Ask it yourself:** `from {told['view']}`")
    with ours:
        yield


def _rows_only(serving: queries.Serving, told: pd.Series, run: str) -> None:
    """A figure that no chart draws yet: the rows of its view."""
    answer = None
    if not queries.lacking(serving, told["view"]):
        answer = run_questions.rows_of(serving, told["view"], run)
    with _beside_the_paper(told):
        if answer is not None and len(answer.frame):
            show.table(
                title_of(told),
                answer,
                serving,
                key="paper_rows",
                relation=told["view"],
                frame=answer.frame.drop(columns="run_id"),
                caption=f"The first {len(answer.frame):,} rows of `{told['view']}`.",
            )
        elif told["figure"].startswith("published numbers"):
            st.info(
                f"The authors published no numbers of {run}. They did of "
                f"{', '.join(run_questions.authors_models(serving))}: measure one of those.",
                icon=":material/hourglass_empty:",
            )
        else:
            show.not_there(title_of(told), [told["view"]], "Measure a run that keeps it.")


page()

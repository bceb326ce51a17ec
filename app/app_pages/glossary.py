"""Glossary: what each word means, with an example from the run at hand.

`glossary?term=hidden` shows that term first: the links of the other pages lead there.
"""

import streamlit as st

from selfrepair.app.page_parts import state, surroundings
from selfrepair.app.wording.glossary import GROUPS, TERMS, Term
from selfrepair.app.wording.glossary_examples import Examples, examples

ALL = "all"


def entry(term: Term, shown: Examples | None) -> None:
    """A term's card: its definition, and beside it the example."""
    with st.container(border=True):
        left, right = st.columns([3, 2], gap="medium")
        with left:
            st.subheader(term.title, anchor=False)
            st.markdown(term.definition)
            if term.paper:
                st.caption(f"The paper: {term.paper}.")
        if shown is not None:
            with right:
                st.caption("Here")
                if term.name in shown.said:
                    st.markdown(shown.said[term.name])
                else:
                    st.markdown(":gray[No row of this run and head is an example.]")


def page() -> None:
    generation = surroundings.published()
    st.title("Glossary")
    st.markdown("What the words on these pages mean, each with an example from the run at hand.")
    shown = None
    if generation is None:
        surroundings.how_to_fill()
    else:
        shown = examples(surroundings.picked(generation, with_head=True))
    chosen = state.pick_one(
        "Term",
        "term",
        [ALL, *TERMS],
        shown=lambda name: "all terms" if name == ALL else TERMS[name].title,
        help="The term that is shown first. Type to search.",
    )
    if chosen != ALL:
        entry(TERMS[chosen], shown)
    for group, terms in GROUPS.items():
        rest = [term for term in terms if term.name != chosen]
        st.header(group, anchor=False)
        for term in rest:
            entry(term, shown)
    if shown is not None:
        with st.expander("Show the SQL of the examples"):
            for answer in shown.answers:
                st.code(answer.sql, language="sql")


page()

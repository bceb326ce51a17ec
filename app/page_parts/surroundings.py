"""What stands around every page: the subject that is looked at, and what was measured."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import streamlit as st

from selfrepair.app.page_parts import state
from selfrepair.app.questions import queries, run_questions
from selfrepair.app.questions.queries import Generation
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import glossary, kinds, words
from selfrepair_assets.measurement.ablations import ABLATIONS, in_order

HeadsOf = Callable[[Subject], list[str]]


def style() -> None:
    """Less empty space at the top; figures' tools do not cover what they draw."""
    st.html(
        "<style>"
        ".stMainBlockContainer { padding-top: 2.6rem; padding-bottom: 3rem; max-width: 1500px; }"
        "[data-testid='stMetricValue'] { font-size: 1.6rem; }"
        ".stTextArea textarea { font-family: monospace; font-size: 0.9rem; }"
        "</style>"
    )


def sidebar(generation: Generation | None) -> None:
    """Which generation is looked at."""
    with st.sidebar:
        if generation is None:
            st.caption("nothing is published yet")
        else:
            published = queries.ask(generation, "select published_at from generation").frame
            when = published["published_at"].iloc[0] if len(published) else None
            st.caption(
                f"generation {generation.number}",
                help=(f"Published {when:%Y-%m-%d %H:%M} UTC. " if when else "")
                + "Each publishing makes a new generation of the warehouse. "
                "The app shows the newest one at your next click.",
            )


def words_used(page: str) -> None:
    """A line of links at a page's end: the words that it uses, to what they mean."""
    terms = glossary.OF_PAGE.get(page, ())
    if not terms:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("What is meant by:", width="content")
        for name in terms:
            state.link("glossary", glossary.TERMS[name].title, term=name)


def published() -> Generation | None:
    """The generation that this script run looks at; None where there is none, or no run in it."""
    generation: Generation | None = st.session_state.get("generation")
    if generation is None or queries.ask(generation, "select 1 from runs limit 1").frame.empty:
        return None
    return generation


def generation_or_stop(title: str) -> Generation:
    """The generation that this script run looks at; without any, says how to fill it and stops."""
    generation = published()
    if generation is None:
        st.title(title)
        how_to_fill()
        st.stop()
    return generation


def how_to_fill() -> None:
    """For an empty warehouse: the commands that put something in it."""
    st.info(
        "Nothing has been measured and published here yet. "
        "Measure a model; this page shows it at the next click, without a restart.",
        icon=":material/science:",
    )
    st.code(
        "# the bundled model on embedded text: no account, no network, some minutes\n"
        "selfrepair demo\n\n"
        "# any other model and text\n"
        "selfrepair run EleutherAI/pythia-160m --corpus pile --tokens 100000",
        language="bash",
    )


def picked(
    generation: Generation,
    *,
    with_head: bool = False,
    only: HeadsOf | None = None,
    rather: HeadsOf | None = None,
    number: str = "",
) -> Subject:
    """The chosen run, ablation and, with_head, head; draws the row of choices.

    only: the names of the heads that can be chosen, of a run and an ablation; none, or None, for
    all ablated ones. rather: those of which the default is taken. number: "2" for the second one
    of a page that looks at two; ends the choices' names in the address.
    """
    runs = run_questions.runs(generation).frame
    names = list(runs["run_id"])
    widths = [7, 7, 7, 5] if with_head else [5, 6, 2]
    places = st.columns(widths, vertical_alignment="bottom")
    run = state.pick_one(
        "Run", f"run{number}", names, place=places[0], help="One model measured on one text."
    )
    row = runs[runs["run_id"] == run].iloc[0]
    with places[1]:
        measured = row["ablations"].split(", ")
        subject = Subject(generation, run, picked_ablation(measured, number))
    so_far = words.so_far(row.to_dict())
    if so_far:
        st.caption(f":orange-badge[{so_far}] All that is said of {run} is said of these.")
    if with_head:
        with places[2]:
            offered, first = (heads(subject) if heads else [] for heads in (only, rather))
            layer, head = picked_head(subject, offered, first, number)
            subject = replace(subject, layer=layer, head=head)
    with places[-1].popover("Settings", icon=":material/tune:", width="stretch"):
        settings(subject)
    stop_at_wrong_link(subject, with_head, number)
    return subject


def stop_at_wrong_link(subject: Subject, with_head: bool, number: str) -> None:
    """Shows no other run, ablation or head than the link asks for, unless the visitor says so."""
    lines = state.wrong([f"{name}{number}" for name in ("run", "ablation", "head")])
    if not lines:
        return
    here = f"{subject.run}, {subject.ablation}" + (f", {subject.head_name}" if with_head else "")
    st.warning(
        "\n\n".join(lines)
        + "\n\nThis warehouse does not have that: the link is wrong, or older than what is "
        "published. Choose above what to look at.",
        icon=":material/link_off:",
    )
    st.button(f"Show {here}", on_click=state.forgive, key=f"forgive{number}")
    st.stop()


def say_what_links_ask_in_vain() -> None:
    """One line above the page for what its link asks for and is not offered there."""
    if lines := state.wrong():
        st.warning(
            " ".join(lines) + " There is no such choice here; the usual one is shown.",
            icon=":material/link_off:",
        )


def picked_ablation(measured: Iterable[str], number: str = "") -> str:
    """The chosen ablation among those that were measured."""
    names = in_order(measured)
    by_what = [f"{name}: {ABLATIONS[name].replaced_by}" for name in names if name in ABLATIONS]
    said = f"What replaces the head's z. {'; '.join(by_what)}."
    return str(state.pick_one("Ablation", f"ablation{number}", names, kind="row", help=said))


def settings(subject: Subject) -> None:
    """All settings of a run, with what each one means."""
    answer = run_questions.settings(subject)
    shown = answer.frame.copy()
    shown["meaning"] = [
        run_questions.meaning_of_setting(subject.generation, name) for name in shown["setting"]
    ]
    shown["setting"] = shown["setting"].map(words.name)
    among = kinds.clusters(subject)
    st.markdown(f"**Settings of {subject.run}**: {among.text}; {among.errors}")
    st.dataframe(shown, hide_index=True, width=720, height=420)


def picked_head(
    subject: Subject, only: list[str], first: list[str], number: str = ""
) -> tuple[int, int]:
    """The chosen head among those that were ablated; the default is the most self-repairing.

    only: those that can be chosen, as L10H11; empty for all. first: those that are the default
    rather than others.
    """
    heads = run_questions.heads(subject).frame
    if only and heads["name"].isin(only).any():
        heads = heads[heads["name"].isin(only)]
    by_repair = heads.assign(first=heads["name"].isin(first)).sort_values(
        ["first", "self_repair"], ascending=False
    )
    numbers = heads.set_index("name")

    def shown(name: str) -> str:
        little = kinds.is_little(numbers["share_removed"].get(name))
        return f"{name}   self-repair {words.signed(numbers['self_repair'].get(name))}" + (
            f", {kinds.LITTLE}" if little else ""
        )

    chosen: Any = state.pick_one(
        "Head",
        f"head{number}",
        list(heads["name"]),
        by_repair["name"].iloc[0],
        shown=shown,
        help="L10H11 is head 11 of layer 10, both counted from 0. Type to search.",
    )
    found = words.layer_and_head(chosen)
    if found is None:
        raise ValueError(f"{chosen!r} is not a head")
    return found

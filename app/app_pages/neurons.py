"""Neurons: which neurons of the last MLP layer repair, how often, and one neuron's tokens."""

from typing import Any

import streamlit as st

from selfrepair.app.figures import registry
from selfrepair.app.figures.neuron_figures import RANKINGS
from selfrepair.app.page_parts import show, state, surroundings
from selfrepair.app.page_parts.show_figure import show_figure
from selfrepair.app.questions import detail_questions, neuron_questions, queries
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import words

MEASURE = "Runs measured by this version keep it; measure the run again."
CLICK = "Click a neuron to see its tokens."


def any_head(subject: Subject) -> None:
    """Fig. 8, 12-15 and section 4.2.1: of every ablated head."""
    change = detail_questions.of_head(subject, "neuron_change_by_head").frame
    if change.empty:
        st.info(
            f"The last MLP layer is not downstream of {subject.head_name}: its neurons "
            "cannot repair it. Choose a head of an earlier layer.",
            icon=":material/arrow_upward:",
        )
        return
    numbers = change.iloc[0]
    shown = [
        ("positive / net change", "positive_to_net_median",
         words.number(numbers["positive_to_net_median"])),
        ("change in the quietest 60 %", "quietest_60_percent",
         words.share(numbers["quietest_60_percent"])),
        ("net change", "net_change", f"{words.signed(numbers['net_change'])} logits"),
    ]  # fmt: skip
    for place, (label, column, text) in zip(st.columns(3), shown, strict=True):
        place.metric(label, text, help=queries.meaning(subject.generation, column))
    for place, name in zip(st.columns(2), ("8", "12"), strict=True):
        with place:
            show_figure(name, subject)


def chosen_head(subject: Subject) -> None:
    """Fig. 7 and section 4.2.2: of the heads whose every neuron was kept."""
    names = registry.heads_of("7", subject)
    if subject.head_name not in names:
        if names:
            st.info(
                "Single neurons (Fig. 7, section 4.2.2) are kept for chosen heads, and "
                f"{subject.head_name} is none of them. Look at one of these:",
                icon=":material/filter_center_focus:",
            )
            with st.container(horizontal=True):
                for name in names:
                    state.link(
                        "neurons", name, run=subject.run, ablation=subject.ablation, head=name
                    )
        return
    left, right = st.columns(2)
    with left:
        choose_neuron(show_figure("7", subject, click=CLICK))
        show_figure("7, histogram", subject)
    with right:
        ranking = state.pick_one("Top rows by", "ranking", list(RANKINGS), kind="row")
        choose_neuron(show_figure("section 4.2.2", subject, ranking=ranking, click=CLICK))
        one_neuron(subject, RANKINGS[ranking])


def choose_neuron(clicked: list[Any] | None) -> None:
    """Chooses the neuron whose mark was clicked, if one was."""
    if clicked:
        state.choose("neuron", str(int(clicked[0])))


def one_neuron(subject: Subject, ranking: str) -> None:
    """One neuron's tokens."""
    neurons = [int(n) for n in neuron_questions.neuron_frequency(subject, ranking).frame["neuron"]]
    if not neurons:
        return
    neuron = state.pick_one("Neuron", "neuron", sorted(neurons), neurons[0])
    answer = neuron_questions.neuron_tokens(subject, ranking, neuron)
    shown = answer.frame.assign(
        token_text=answer.frame["token_text"].map(words.token),
        target_text=answer.frame["target_text"].map(words.token),
    )
    show.table(
        f"Tokens at which neuron {neuron} is among the ten",
        answer,
        subject.generation,
        key="neuron_tokens",
        relation="top_repairing_neuron",
        frame=shown,
        caption=f"{len(shown)} tokens; largest change first.",
    )


def page() -> None:
    generation = surroundings.generation_or_stop("Neurons")
    st.title("Neurons of the last MLP layer")
    missing = queries.lacking(generation, "neuron_repairs")
    subject = surroundings.picked(generation, with_head=True)
    if missing:
        show.not_there("Neurons", missing, MEASURE)
        return
    any_head(subject)
    chosen_head(subject)


page()

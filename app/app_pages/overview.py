"""Overview: what has been measured, what runs now, the headline numbers, what to look at next."""

import streamlit as st

from selfrepair.app.page_parts import show, state, surroundings
from selfrepair.app.questions import run_questions
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import kinds, words
from selfrepair.app.wording.headline import all_kinds, headline
from selfrepair.warehouse.facts.unfinished import unfinished
from selfrepair.warehouse.paths import Warehouse


def running(published: set[str]) -> None:
    """Runs that are measured now, and those that were begun and left."""
    for run in unfinished(Warehouse(), published):
        done = f"{run.shards_done} of {run.n_shards} shards of heads measured"
        if run.seems_running:
            st.progress(run.share, f"**{run.run_id}** is being measured: {done}")
        else:
            st.caption(
                f":material/pause_circle: **{run.run_id}** was begun and is not finished: {done}. "
                "The command that began it goes on from there."
            )


def numbers_of(subject: Subject) -> None:
    """One run's headline numbers, under its first ablation."""
    shown = headline(subject)
    numbers, run, ablation = shown.numbers, subject.run, str(shown.numbers["ablation"])
    st.caption(
        f"{ablation.capitalize()} ablation, each head's top rows by direct effect; "
        f"{shown.among.errors}. Text: {shown.among.text}."
    )
    show.tiles(shown.tiles)
    st.caption(all_kinds(numbers, shown.among))
    with st.container(horizontal=True):
        if isinstance(numbers["most_repaired"], str):
            little = kinds.little_removed(numbers["most_repaired_share_removed"])
            state.link(
                "head",
                f"most self-repaired head: {numbers['most_repaired']} "
                f"({words.signed(numbers['most_self_repair'])} logits"
                + (f"; {little}" if little else "")
                + ")",
                icon=":material/center_focus_strong:",
                run=run,
                ablation=ablation,
                head=numbers["most_repaired"],
            )
        state.link("model", "all heads", icon=":material/grid_on:", run=run, ablation=ablation)


def page() -> None:
    st.title("Self-repair in language models")
    st.markdown(
        "Remove one attention head, and later parts of the model often make up for some of it: "
        "**self-repair**. Here every head is ablated on real text, and what the rest of the model "
        "does about it is measured, token by token.",
        help="self-repair = logit change − change in the head's own direct effect, in logits of "
        "the target token. After Rushing & Nanda, Explorations of Self-Repair in Language Models, "
        "arXiv 2402.15390.",
    )
    generation = st.session_state.get("generation")
    if generation is None:
        surroundings.how_to_fill()
        running(set())
        return
    answer = run_questions.runs(generation)
    if answer.frame.empty:
        surroundings.how_to_fill()
    whole = [run["run_id"] for run in answer.frame.to_dict("records") if words.is_ended(run)]
    running(set(whole))
    for run in answer.frame.head(12).to_dict("records"):
        subject = Subject(generation, run["run_id"])
        with st.container(border=True):
            left, right = st.columns([5, 1], vertical_alignment="center")
            so_far = words.so_far(run)
            left.markdown(
                f"#### {run['run_id']}" + (so_far and f" :orange-badge[{so_far}]") + "\n"
                f"{run['n_ablated_heads']:,} of {run['n_layers'] * run['n_heads']:,} heads "
                f"({run['n_layers']} layers × {run['n_heads']}) · "
                f"{words.count(int(run['n_tokens']))} tokens of {run['corpus']} · "
                f"{run['ablations']} ablation · {run['precision']} · "
                f"measured {run['finished_at']:%Y-%m-%d}"
            )
            with right.popover("Settings", icon=":material/tune:", width="stretch"):
                surroundings.settings(subject)
            numbers_of(subject)
    if answer.frame.empty:
        return
    st.subheader("What to look at next")
    a, b, c = st.columns(3)
    with a.container(border=True, height="stretch"):
        state.link("across_models", "Across models", icon=":material/stacked_line_chart:")
        st.caption("Does self-repair grow with depth? Figures 1, 6, 10 and 11, for any runs.")
    with b.container(border=True, height="stretch"):
        state.link("paper", "Beside the paper", icon=":material/article:")
        st.caption("Every figure by its number, with the query that draws it.")
    with c.container(border=True, height="stretch"):
        state.link("sql", "Ask with SQL", icon=":material/terminal:")
        st.caption("All of it is tables and views; here with a dictionary of every column.")
    show.table(
        "All runs",
        answer,
        generation,
        key="runs",
        relation="runs",
        frame=answer.frame[
            [
                "run_id", "n_layers", "n_heads", "corpus", "n_tokens", "ablations", "precision",
                "device", "finished_at",
            ]
        ],
    )  # fmt: skip


page()

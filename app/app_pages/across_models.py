"""Across models: figures 1, 6, 11 and 10 for any subset of runs."""

import pandas as pd
import streamlit as st

from selfrepair.app.figures.run_figures import BY_DEPTH, OVER_TRAINING, POST_NORM
from selfrepair.app.page_parts import state, surroundings
from selfrepair.app.page_parts.show_figure import show_figure
from selfrepair.app.questions import queries, run_questions
from selfrepair.app.questions.queries import Generation
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import words


def _ablations(runs: pd.DataFrame) -> set[str]:
    """What any of the runs was measured under."""
    return {ablation for text in runs["ablations"] for ablation in text.split(", ")}


def over_training(generation: Generation) -> None:
    """The series of runs that are steps of one model's training; nothing where there is none."""
    if queries.lacking(generation, "training_steps"):
        return
    steps = run_questions.training_series(generation).frame
    st.subheader("Over training")
    left, middle, right = st.columns([5, 4, 4], vertical_alignment="bottom")
    with left:
        series = state.pick_one(
            "Series",
            "series",
            list(dict.fromkeys(steps["series"])),
            help="Runs of one model at several steps of its training, found by their names.",
        )
    own = steps[steps["series"] == series]
    run = str(own["run_id"].iloc[-1])
    runs = run_questions.runs(generation).frame
    with middle:
        measured = _ablations(runs[runs["run_id"].isin(own["run_id"])])
        ablation = surroundings.picked_ablation(measured, "_over_training")
    with right:
        name = state.pick_one(
            "Figure",
            "figure_over_training",
            list(OVER_TRAINING),
            kind="row",
            shown=lambda name: f"Fig. {name.partition(',')[0]}",
        )
    st.caption(f"{len(own)} steps: " + ", ".join(f"{step:,}" for step in own["step"]))
    show_figure(name, Subject(generation, run, ablation))


def page() -> None:
    generation = surroundings.generation_or_stop("Across models")
    st.title("Across models")
    by_depth(generation)
    over_training(generation)


def by_depth(generation: Generation) -> None:
    """Figures 1, 6, 10 and 11, a line per run."""
    runs = run_questions.runs(generation).frame
    left, right = st.columns([5, 4])
    with left:
        chosen = state.pick_several(
            "Runs", "runs", list(runs["run_id"]), runs["run_id"].head(7), help="Any of them."
        )
    with right:
        measured = _ablations(runs)
        ablation = surroundings.picked_ablation(measured)
    drawn = BY_DEPTH | ({"post-norm": POST_NORM} if runs["post_norm"].fillna(False).any() else {})
    figure = state.pick_one(
        "Figure",
        "figure",
        list(drawn),
        "1",
        kind="row",
        shown=lambda name: (
            ("" if name == "post-norm" else f"Fig. {name}: ") + words.name(drawn[name].columns[0])
        ),
    )
    if not chosen:
        st.info("Choose at least one run.", icon=":material/checklist:")
        return
    shown = runs[runs["run_id"].isin(chosen)]
    for run in shown.to_dict("records"):
        so_far = words.so_far(run)
        if so_far:
            st.caption(f"{run['run_id']} :orange-badge[{so_far}]")
    measured = _ablations(shown)
    if ablation not in measured:
        st.info(f"None of these runs has {ablation} ablation.", icon=":material/filter_alt_off:")
        return
    clicked = show_figure(
        figure,
        Subject(generation, chosen[0], ablation),
        runs=chosen,
        click="Click a head to open it.",
    )
    if clicked and len(clicked) > 1:  # a head; a line's mark says less
        run, layer, head = clicked[:3]
        state.open_page(
            "head", run=str(run), ablation=ablation, head=words.head(int(layer), int(head))
        )


page()

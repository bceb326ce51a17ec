"""Head: one head under every ablation: its numbers, their spread, the tokens themselves."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from selfrepair.app.charts import run_charts
from selfrepair.app.page_parts import show, state, surroundings
from selfrepair.app.page_parts.head_numbers import numbers
from selfrepair.app.page_parts.head_tokens import tokens
from selfrepair.app.page_parts.show_figure import show_figure
from selfrepair.app.questions import head_questions, queries, run_questions
from selfrepair.app.questions.run_questions import ROW_SETS
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import kinds, words


def scatter(subject: Subject) -> None:
    """Fig. 3 and 5."""
    answer = head_questions.sampled_tokens(subject)
    every = answer.frame["ablation"].nunique() > 1 and state.switch(
        "all ablations (Fig. 5)", "every"
    )
    clicked = show_figure(
        "5" if every else "3", subject, click="Click a token to read it in its text."
    )
    if clicked:
        sequence, position = (int(n) for n in clicked[:2])
        state.choose("view", "Tokens")
        state.choose("instance", f"{sequence}:{position}")
        st.rerun()


def parts(subject: Subject) -> None:
    """Self-repair broken into its parts."""
    for place, rows in zip(st.columns(2), ROW_SETS, strict=True):
        with place:
            show_figure("parts", subject, rows=rows, key=f"parts_{ROW_SETS[rows]}")


def spread(subject: Subject) -> None:
    """Distribution per token and per prompt; what is overcorrected and broken (section 2.3)."""
    rows = state.pick_one("Rows", "spread", list(ROW_SETS), kind="row")
    for place, name in zip(st.columns(2), ("section 2.3", "section 2.3, per prompt"), strict=True):
        with place:
            show_figure(name, subject, rows=rows)
    show.table(
        "How noisy it is (section 2.3)",
        head_questions.noise(subject, ROW_SETS[rows]),
        subject.generation,
        key="noise",
        relation="self_repair_noise",
    )


def positions(subject: Subject) -> None:
    """The same quantities by position, and the means with and without the first ones."""
    if missing := queries.lacking(subject.generation, "effects_by_position"):
        show.not_there("Positions", missing, "Publish the run again.")
        return
    show_figure("positions", subject)
    answer = head_questions.with_and_without(subject)
    # What is counted stands before the means.
    first = ["row_set", "positions", "n_rows", "n_clusters"]
    named = answer.frame["positions"].map(
        {
            "all": "all",
            "without_bos": "without the first (BOS)",
            "without_sinks": "without the first 4 (attention sinks)",
        }
    )
    show.table(
        "Means with and without the first positions",
        answer,
        subject.generation,
        key="with_and_without",
        relation="head_means_by_positions",
        frame=answer.frame.assign(positions=named, row_set=answer.frame["row_set"].map(words.name))[
            first + [c for c in answer.frame if c not in (*first, "positions_left_out")]
        ],
        caption="The first positions are where attention sinks are, and BOS where sequences begin "
        "with it; at BOS resampling changes nothing. The top rows are not chosen anew without "
        "them. The SQL macro head_means_without_first leaves out any other number.",
    )


def layernorm(subject: Subject) -> None:
    """Fig. 4, 17, 18 and 16."""
    for place, name in zip(st.columns(2), ("4", "16"), strict=True):
        with place:
            show_figure(name, subject)


def ablations(subject: Subject) -> None:
    """Every quantity under every ablation, side by side."""
    answer = head_questions.summary(subject)
    means = answer.frame.set_index("ablation")
    rows = [
        {
            "quantity": words.name(column),
            **{
                f"{ablation} ablation": f"{words.signed(row[column])} ± "
                + words.number(row[f"{column}_se"], 2)
                for ablation, row in means.iterrows()
            },
            "meaning": queries.meaning(subject.generation, column, "head_summary"),
        }
        for column in run_charts.there(run_questions.QUANTITIES, answer.frame)
    ]
    show.table(
        ("The ablations side by side: means" if len(means) > 1 else "Means") + " over the top rows",
        answer,
        subject.generation,
        key="ablations",
        frame=pd.DataFrame(rows),
        caption=f"± is the standard error; {kinds.clusters(subject).errors}. Where the share "
        "removed is below 50 %, self-repair says little.",
    )


VIEWS: dict[str, Callable[[Subject], None]] = {
    "Tokens": tokens,
    "Scatter": scatter,
    "Parts": parts,
    "Spread": spread,
    "Positions": positions,
    "LayerNorm": layernorm,
    "Ablations": ablations,
}


def pin(subject: Subject) -> None:
    """Keeps this head for the Compare page, and leads there once one is kept."""
    run, head = state.recall("run2"), state.recall("head2")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Pin",
            icon=":material/keep:",
            help="Keeps this head, to compare another one with it.",
            on_click=state.choose_all,
            kwargs={"run2": subject.run, "ablation2": subject.ablation, "head2": subject.head_name},
        )
        if head:
            state.link(
                "compare",
                f"Compare with {head}" + (f" of {run}" if run != subject.run else ""),
                icon=":material/compare_arrows:",
                run=subject.run,
                ablation=subject.ablation,
                head=subject.head_name,
                run2=run,
                ablation2=state.recall("ablation2"),
                head2=head,
            )


def page() -> None:
    generation = surroundings.generation_or_stop("Head")
    title = st.empty()
    subject = surroundings.picked(generation, with_head=True)
    title.title(f"Head {subject.head_name}")
    heads = run_questions.heads(subject).frame
    own = heads[(heads["name"] == subject.head_name) & (heads["n_rows"] > 0)]
    if not own.empty:
        numbers(subject, own.iloc[0])
    one = "Numbers" if len(head_questions.summary(subject).frame) == 1 else "Ablations"
    view = state.pick_one(
        "Show",
        "view",
        list(VIEWS),
        "Tokens",
        kind="row",
        shown=lambda name: one if name == "Ablations" else name,
    )
    pin(subject)
    VIEWS[view](subject)


page()

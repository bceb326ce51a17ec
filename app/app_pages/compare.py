"""Compare: two heads, runs, ablations or sets of rows on the same axes, and their difference."""

from typing import Any

import pandas as pd
import streamlit as st

from selfrepair.app.charts import compare_charts
from selfrepair.app.page_parts import show, state, surroundings
from selfrepair.app.page_parts.show_figure import show_figure
from selfrepair.app.questions import compare_questions
from selfrepair.app.questions.compare_questions import Side
from selfrepair.app.questions.queries import Generation
from selfrepair.app.questions.run_questions import ROW_SETS
from selfrepair.app.wording import words


def picked_side(generation: Generation, title: str, number: str) -> Side:
    """What is chosen for one side; its choices are in the address under its number."""
    with st.container(border=True):
        show.heading(title)
        subject = surroundings.picked(generation, with_head=True, number=number)
        rows = state.pick_one("Rows", f"compared_rows{number}", list(ROW_SETS), kind="row")
        state.link(
            "head",
            f"Open {subject.head_name}",
            run=subject.run,
            ablation=subject.ablation,
            head=subject.head_name,
            icon=":material/center_focus_strong:",
        )
    return Side(subject, rows)


def as_text(frame: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """The means and their difference as people read them: a row per quantity."""

    def with_error(row: pd.Series, value: str, error: str) -> str:
        return f"{words.signed(row[value])} ± {words.number(row[error], 2)}"

    return pd.DataFrame(
        [
            {
                "quantity": words.name(row["quantity"]),
                one: with_error(row, "one_mean", "one_se"),
                other: with_error(row, "other_mean", "other_se"),
                "difference (other − one)": with_error(row, "difference", "difference_se"),
                "in errors": words.signed(in_errors(row), 2),
            }
            for _, row in frame.iterrows()
        ]
    )


def in_errors(row: pd.Series) -> float:
    """How many standard errors the difference is; nothing where it has none."""
    error = row["difference_se"]
    return float("nan") if pd.isna(error) or not error else row["difference"] / error


def page() -> None:
    generation = surroundings.generation_or_stop("Compare")
    st.title("Compare")
    one = picked_side(generation, "One", "")
    other = picked_side(generation, "The other", "2")
    answer = compare_questions.differences(one, other)
    if answer.frame.empty or answer.frame[["one_mean", "other_mean"]].isna().all().any():
        show.not_there("Means of these rows", ["head_means"], "Choose others.")
        return
    names = one.label(other), other.label(one)
    if names[0] == names[1]:
        st.info(
            "Both sides are the same. Choose another head, run, ablation or other rows on one of "
            "them; *Pin* on a head's page keeps it as the other one.",
            icon=":material/compare_arrows:",
        )
        return
    options: dict[str, Any] = {
        "other_run": other.subject.run,
        "other_ablation": other.subject.ablation,
        "other_head": other.subject.head_name,
        "rows": one.rows,
        "other_rows": other.rows,
    }
    for name in ("compared", "compared, token by token"):
        show_figure(name, one.subject, **options)
    show.table(
        "Every quantity",
        answer,
        generation,
        key="compared",
        frame=as_text(compare_charts.present(answer.frame), *names),
        caption=f"± is the standard error. {compare_charts.how_paired(answer.frame)}",
    )
    if one.subject.run != other.subject.run:
        state.link(
            "across_models",
            "Both runs over depth",
            icon=":material/stacked_line_chart:",
            runs=f"{one.subject.run},{other.subject.run}",
        )


page()

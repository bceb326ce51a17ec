"""Compare: two heads, runs, ablations or sets of rows on the same axes, and their difference."""

import pandas as pd
import streamlit as st

from selfrepair.app.charts import compare_charts, token_charts
from selfrepair.app.page_parts import show, state, surroundings
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
    paired = bool(answer.frame["is_paired"].iloc[0])
    how = (
        "Both are of the same text, so that the difference is paired: its error is over the "
        f"{int(answer.frame['n_clusters_paired'].max())} clusters' differences."
        if paired
        else "The texts are not the same token by token: the errors are taken as independent."
    )
    show.chart(
        f"{names[0]} and {names[1]}",
        compare_charts.means(compare_charts.present(answer.frame), *names),
        answer,
        key="compared_means",
        caption=f"Means with their standard errors by cluster; the difference is other − one. "
        f"{how}",
        definitions=show.defined(generation, compare_charts.QUANTITIES, "head_summary"),
    )
    spread = compare_questions.spreads(one, other)
    show.chart(
        "Self-repair, token by token",
        token_charts.histogram(
            spread.frame,
            x="self-repair (logits)",
            line_at=0,
            y="share of tokens",
            colors=dict(zip(names, compare_charts.SIDES, strict=True)),
        ),
        spread,
        key="compared_spreads",
        caption="The same bins for both. What lies beyond the outer 0.1 % is counted in the "
        "outermost bins.",
    )
    show.table(
        "Every quantity",
        answer,
        generation,
        key="compared",
        frame=as_text(compare_charts.present(answer.frame), *names),
        caption=f"± is the standard error. {how}",
    )
    if one.subject.run != other.subject.run:
        state.link(
            "across_models",
            "Both runs over depth",
            icon=":material/stacked_line_chart:",
            runs=f"{one.subject.run},{other.subject.run}",
        )


page()

"""This run beside the authors' published means, head by head."""

import pandas as pd
import streamlit as st

from selfrepair.app.page_parts import show, state
from selfrepair.app.page_parts.show_figure import show_figure
from selfrepair.app.questions import trust_questions
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import words


def agreement_of(row: pd.Series, quantity: str) -> str:
    """How far a run is from the authors in one quantity, and how far text alone makes it."""
    spread = row["difference_in_errors_rms"]
    if pd.isna(spread):
        return ""
    n = int(row["n_heads"])
    expected = words.number(row["difference_in_errors_expected"], 2)
    return (
        f"{words.name(quantity).capitalize()}, over {n} head{'' if n == 1 else 's'}: the "
        f"differences spread by {words.number(spread, 2)} of the run's standard errors "
        f"(median {words.number(row['difference_in_errors_median'], 2)}). On as many tokens, "
        f"other text alone makes a spread of {expected}; much more than that it does not explain."
    )


def beside(subject: Subject) -> None:
    """A scatter of one quantity and the agreement in all; nothing where the authors have none."""
    agreement = trust_questions.paper_agreement(subject)
    if agreement.frame.empty:
        return
    st.subheader("Beside the authors' published numbers")
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        quantity = state.pick_one(
            "Compare", "compared", list(agreement.frame["quantity"]), shown=words.name
        )
        show_figure("authors", subject, quantity=quantity, border=False)
    with right:
        show.table(
            "Agreement over all heads",
            agreement,
            subject.generation,
            key="agreement",
            relation="paper_correlation",
            caption=agreement_of(agreement.frame.set_index("quantity").loc[quantity], quantity),
        )

"""A head's headline numbers on its top rows: what was removed, what became of it, how sure."""

from dataclasses import replace

import pandas as pd
import streamlit as st

from selfrepair.app.page_parts import show
from selfrepair.app.questions import queries
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import glossary, kinds, words
from selfrepair.app.wording.headline import Tile


def numbers(subject: Subject, means: pd.Series) -> None:
    """The head's headline numbers on its top rows, each with its error and its definition.

    means: the head's row of `run_questions.heads`.
    """
    shown = [
        Tile(
            label,
            words.signed(means[column]),
            f"± {words.number(means[f'{column}_se'], 2)} logits",
            f"{queries.meaning(subject.generation, column, 'head_summary')}.",
        )
        for label, column in (
            ("direct effect", "direct_effect"),
            ("removed", "direct_effect_removed"),
            ("logit change", "logit_change"),
            ("self-repair", "self_repair"),
        )
    ]
    removed = words.share_with_error(means["share_removed"], means["share_removed_se"])
    shown[1] = replace(shown[1], note=f"{shown[1].note}: {removed} of the direct effect")
    hidden = words.share_with_error(means["share_hidden"], means["share_hidden_se"])
    none = "" if pd.notna(means["share_hidden"]) else ": nothing is surely removed"
    shown[3] = replace(shown[3], note=f"{shown[3].note}: {hidden} of what was removed{none}")
    shown.append(
        Tile(
            "by LayerNorm",
            words.share_with_error(
                means["layernorm_fraction_of_means"], means["layernorm_fraction_of_means_se"]
            ),
            "of the direct effect, as a ratio of means. The paper's clipped fraction: "
            + words.share_with_error(
                means["layernorm_fraction_clipped"], means["layernorm_fraction_clipped_se"]
            ),
            glossary.explained("clipped"),
        )
    )
    shown.append(
        Tile(
            "tokens overcorrected",
            words.share_with_error(means["share_overcorrected"], means["share_overcorrected_se"]),
            "of the top rows, one by one; broken: "
            + words.share_with_error(means["share_broken"], means["share_broken_se"]),
            glossary.explained("overcorrected", "broken"),
        )
    )
    show.tiles(shown)
    among = kinds.clusters(subject)
    why = "" if isinstance(means["kind"], str) else among.why_no_label or kinds.TOO_FEW_ROWS
    st.markdown(
        kinds.badge(means["kind"], means["share_removed"], why),
        help=glossary.explained("not_removed", "repaired", "overcorrected", "broken"),
    )
    little = (
        " The ablation left more than half of what the head does here in place, so that a small "
        "logit change shows no repair."
    )
    st.caption(
        f"Means over the head's top {words.share(means['top_fraction'])}, {means['n_rows']:,} "
        f"tokens; {among.errors}."
        + (f" The head is {why}." if why else " The label is at 5 %, corrected for all heads.")
        + (little if kinds.is_little(means["share_removed"]) else "")
    )

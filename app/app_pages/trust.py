"""Trust: which heads' ablations mislead, by how much, and under which ablation (section 5)."""

import pandas as pd
import streamlit as st

from selfrepair.app.page_parts import show, state, surroundings
from selfrepair.app.page_parts.show_figure import show_figure
from selfrepair.app.questions import queries, trust_questions
from selfrepair.app.questions.queries import Generation
from selfrepair.app.questions.run_questions import ROW_SETS
from selfrepair.app.wording import kinds, trust_words, words
from selfrepair.app.wording.headline import Tile
from selfrepair.app.wording.kinds import Clusters

TABLE = [
    "name", "misplaced", "rank_by_direct_effect", "rank_by_ablation", "rank_difference",
    "ranks_differ", "share_removed", "share_hidden", "share_hidden_se", "share_hidden_frozen",
    "direct_effect", "direct_effect_removed", "logit_change", "n_rows", "n_clusters",
]  # fmt: skip


def tiles(generation: Generation, numbers: pd.Series, among: Clusters) -> list[Tile]:
    """How far ablation and direct effect agree, each with the number of heads that it is over."""
    n = int(numbers["n_heads"])
    ranked = int(numbers["n_heads_ranked"])
    misplaced = round(numbers["share_ranks_differ"] * ranked) if ranked else 0
    above = "; above 100 % the logit changes the other way"
    above = above if numbers["share_hidden_median"] > 1 else ""
    shown = [
        ("rank correlation", "rank_correlation", words.number(numbers["rank_correlation"], 2),
         f"over {n} heads, the text's noise is in it"),
        ("mean difference of places", "mean_rank_difference",
         words.number(numbers["mean_rank_difference"], 2),
         f"over {n} heads, the text's noise is in it"),
        ("heads surely misplaced", "share_ranks_differ",
         f"{misplaced} of {ranked}" if ranked else "–",
         trust_words.counts(numbers) if ranked else among.too_few),
        ("hidden, median head", "share_hidden_median",
         words.share(numbers["share_hidden_median"]),
         f"median over {int(numbers['n_heads_with_share'])} of {n} heads: those of which the "
         "ablation surely removes something" + above),
    ]  # fmt: skip
    return [
        Tile(label, value, note, queries.meaning(generation, column))
        for label, column, value, note in shown
    ]


def page() -> None:
    generation = surroundings.generation_or_stop("Trust")
    st.title("Can the ablation be trusted?")
    st.markdown(
        "Heads are often ranked by how far the logit falls without them. Here is each head's place "
        "by ablation beside its place by direct effect, and why they differ where they surely do: "
        "the ablation left most of the head in place, or it was repaired, or the head acts on the "
        "logit by other ways."
    )
    subject = surroundings.picked(generation)
    if missing := queries.lacking(generation, "ablation_trust"):
        show.not_there("Trust", missing, "Publish the run again with `selfrepair publish`.")
        return
    rows = state.pick_one("Rows", "trust_rows", list(ROW_SETS), "all tokens", kind="row")
    by_run = trust_questions.trust_by_run(subject, ROW_SETS[rows])
    own = by_run.frame[by_run.frame["ablation"] == subject.ablation]
    if own.empty:
        show.not_there("Trust of this run", ["ablation_trust"], "Publish the run again.")
        return
    numbers = own.iloc[0]
    among = kinds.clusters(subject)
    show.tiles(tiles(generation, numbers, among))
    answer = trust_questions.trust(subject, ROW_SETS[rows])
    several = len(by_run.frame) > 1
    left, right = st.columns(2) if several else (st.container(), None)
    with left:
        clicked = show_figure("section 5.1", subject, rows=rows, click="Click a head to open it.")
        if clicked:
            layer, head = (int(number) for number in clicked[:2])
            state.open_page(
                "head", run=subject.run, ablation=subject.ablation, head=words.head(layer, head)
            )
    if right is not None:
        side_by_side = trust_questions.trust_by_ablation(subject, ROW_SETS[rows])
        with right:
            show.table(
                "Which ablation: places side by side (section 5.2)",
                side_by_side,
                generation,
                key="trust_by_ablation",
                relation="ablation_trust_by_ablation",
                frame=side_by_side.frame.dropna(axis="columns", how="all"),
                height=480,
                caption="The heads on which the ablations differ most come first. Hidden is empty "
                "where an ablation may have removed nothing.",
            )
    show.table(
        "All heads, the most misplaced first",
        answer,
        generation,
        key="trust",
        relation="ablation_trust",
        frame=answer.frame[TABLE],
        height=420,
        caption=f"Misplaced is {among.why_no_label}." if among.why_no_label else "",
    )
    if several:
        show.table(
            "Each ablation over all heads",
            by_run,
            generation,
            key="trust_by_run",
            relation="ablation_trust_by_run",
        )


page()

"""Trust: which heads' ablations mislead, by how much, and under which ablation (section 5)."""

import streamlit as st

from app import detail_charts, frame, queries, show, state, trust_questions, words

ROW_SETS = {"all tokens": "all", "top by direct effect": "top_by_direct_effect"}
TABLE = [
    "name", "rank_by_direct_effect", "rank_by_ablation", "rank_difference", "ranks_differ",
    "share_hidden", "share_hidden_se", "share_hidden_frozen", "direct_effect", "logit_change",
    "n_rows",
]  # fmt: skip


def page() -> None:
    serving = frame.serving_or_stop("Trust")
    st.title("Can the ablation be trusted?")
    st.markdown(
        "Heads are often ranked by how far the logit falls without them. Self-repair hides some of "
        "what a head does: here is each head's place by ablation beside its place by direct effect."
    )
    run, ablation, _, _ = frame.picked(serving)
    if missing := queries.lacking(serving, "ablation_trust"):
        show.not_there("Trust", missing, "Publish the run again with `selfrepair publish`.")
        return
    rows = state.one_of("Rows", "trust_rows", list(ROW_SETS), kind="row")
    by_run = trust_questions.trust_by_run(serving, run, ROW_SETS[rows])
    own = by_run.frame[by_run.frame["ablation"] == ablation]
    if own.empty:
        show.not_there("Trust of this run", ["ablation_trust"], "Publish the run again.")
        return
    numbers = own.iloc[0]
    shown = [
        ("rank correlation", "rank_correlation", words.number(numbers["rank_correlation"], 2)),
        ("mean difference of places", "mean_rank_difference",
         words.number(numbers["mean_rank_difference"], 2)),
        ("heads that it misplaces", "share_ranks_differ",
         words.share(numbers["share_ranks_differ"])),
        ("hidden, median head", "share_hidden_median",
         words.share(numbers["share_hidden_median"])),
    ]  # fmt: skip
    for place, (label, column, text) in zip(st.columns(4), shown, strict=True):
        place.metric(label, text, help=queries.meaning(serving, column))
    answer = trust_questions.trust(serving, run, ablation, ROW_SETS[rows])
    left, right = st.columns(2)
    with left:
        clicked = show.chart(
            "Places by direct effect and by ablation (section 5.1)",
            detail_charts.ranks(answer.frame),
            answer,
            key="ranks",
            caption="Below the line the ablation overrates a head, above it underrates it. "
            "Click a head to open it.",
            definitions=show.defined(
                serving,
                ["rank_by_direct_effect", "rank_by_ablation", "ranks_differ", "share_hidden"],
            ),
            clickable=True,
        )
        if clicked:
            layer, head = (int(n) for n in clicked[:2])
            state.open_page("head", run=run, ablation=ablation, head=words.head(layer, head))
    with right:
        side_by_side = trust_questions.trust_by_ablation(serving, run, ROW_SETS[rows])
        measured = list(by_run.frame["ablation"])
        show.table(
            "Which ablation: places side by side (section 5.2)",
            side_by_side,
            serving,
            key="trust_by_ablation",
            relation="ablation_trust_by_ablation",
            frame=side_by_side.frame.dropna(axis="columns", how="all"),
            height=480,
            caption="The heads on which the ablations differ most come first."
            if len(measured) > 1
            else f"This run has {measured[0]} ablation alone: measure it with "
            "`--ablations resample,mean,zero` to compare.",
        )
    show.table(
        "All heads, the most misplaced first",
        answer,
        serving,
        key="trust",
        relation="ablation_trust",
        frame=answer.frame[TABLE],
        height=420,
    )
    show.table(
        "Each ablation over all heads",
        by_run,
        serving,
        key="trust_by_run",
        relation="ablation_trust_by_run",
    )


page()

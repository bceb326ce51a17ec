"""Self-reinforcement: what a head does when it reads its own output (section 5.3)."""

import pandas as pd
import streamlit as st

from selfrepair.app.charts import detail_charts
from selfrepair.app.page_parts import frame, show, state
from selfrepair.app.questions import detail_questions, queries
from selfrepair.app.wording import kinds, words
from selfrepair.app.wording.headline import Tile
from selfrepair.app.wording.kinds import Clusters

KINDS = ("self-reinforcing", "neither", "self-repressing")


def tiles(heads: pd.DataFrame, among: Clusters, rule: str) -> list[Tile]:
    """How many heads are of each kind, of how many, from how many texts."""
    counts, n = heads["kind"].value_counts(), len(heads)
    if among.too_few:
        return [Tile(kind, "–", f"{n} heads measured, {among.too_few}", rule) for kind in KINDS]
    notes = {kind: f"surely so, {among.level(n)}" for kind in KINDS}
    notes["neither"] = f"cannot be told from 0, or within 1 %; over {among}"
    return [
        Tile(kind, f"{int(counts.get(kind, 0))} of {n} heads", notes[kind], rule) for kind in KINDS
    ]


def page() -> None:
    serving = frame.serving_or_stop("Self-reinforcement")
    st.title("Self-reinforcement")
    st.markdown(
        "A head's own output is added to what the head reads, some times over. A self-reinforcing "
        "head then does more of what it did, a self-repressing one less.",
        help=queries.meaning(serving, "relative_slope"),
    )
    run, _, _, _ = frame.picked(serving)
    if missing := queries.lacking(serving, "self_reinforcement"):
        show.not_there(
            "Self-reinforcement",
            missing,
            "Runs measured by this version have it; measure the run again.",
        )
        return
    answer = detail_questions.reinforcing_heads(serving, run)
    heads = answer.frame
    if heads.empty:
        show.not_there("Self-reinforcement of this run", ["self_reinforcement"], "Choose another.")
        return
    among = kinds.reinforcement_clusters(serving, run)
    show.tiles(tiles(heads, among, queries.relations(serving)["self_reinforcing_heads"]))
    st.caption(f"Measured on {among.text}, {int(heads['n_tokens'].max()):,} tokens.")
    names = list(heads.sort_values(["layer", "head"])["name"])
    chosen = state.one_of(
        "Head", "reinforced", names, heads["name"].iloc[0], help="The default represses most."
    )
    clicked = show.chart(
        "Self-repressing and self-reinforcing heads (section 5.3)",
        detail_charts.slopes(heads),
        answer,
        key="slopes",
        caption="The share of its direct effect that a head gains per time its own output is "
        f"added, with two standard errors; {among.errors}. "
        + (f"Heads are {among.why_no_label}. " if among.why_no_label else "")
        + "Click a head to see its tokens below.",
        definitions=show.defined(serving, ["relative_slope", "kind"], "self_reinforcing_heads"),
        clickable=True,
    )
    if clicked:
        picked = words.head(*(int(n) for n in clicked[:2]))
        if picked != chosen and picked != st.session_state.get("slope_clicked"):
            st.session_state["slope_clicked"] = picked
            state.choose("reinforced", picked)
            st.rerun()
    layer, head = words.layer_and_head(chosen) or (0, 0)
    left, right = st.columns(2)
    with left:
        rows = detail_questions.reinforcement(serving, run, layer, head)
        scales = sorted(float(s) for s in rows.frame["scale"].unique())
        show.chart(
            f"{chosen}: direct effect before and after (Fig. 9 and 19)",
            detail_charts.reinforcement(rows.frame, scales),
            rows,
            key="reinforcement",
            caption="A sample of positions, the same at each scale. Nearer to 0 than the line: "
            "the head represses itself.",
            definitions=show.defined(
                serving, ["direct_effect", "direct_effect_after", "scale"], "self_reinforcement"
            ),
        )
    with right:
        by_scale = detail_questions.reinforcement_by_scale(serving, run, layer, head)
        show.table(
            f"{chosen}: means at each scale (appendix E)",
            by_scale,
            serving,
            key="reinforcement_by_scale",
            relation="self_reinforcement_by_scale",
        )


page()

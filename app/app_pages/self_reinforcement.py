"""Self-reinforcement: what a head does when it reads its own output (section 5.3)."""

from dataclasses import replace

import pandas as pd
import streamlit as st

from selfrepair.app.page_parts import show, state, surroundings
from selfrepair.app.page_parts.show_figure import show_figure
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
    generation = surroundings.generation_or_stop("Self-reinforcement")
    st.title("Self-reinforcement")
    st.markdown(
        "A head's own output is added to what the head reads, some times over. A self-reinforcing "
        "head then does more of what it did, a self-repressing one less.",
        help=queries.meaning(generation, "relative_slope"),
    )
    subject = surroundings.picked(generation)
    if missing := queries.lacking(generation, "self_reinforcement"):
        show.not_there(
            "Self-reinforcement",
            missing,
            "Runs measured by this version have it; measure the run again.",
        )
        return
    answer = detail_questions.reinforcing_heads(subject)
    heads = answer.frame
    if heads.empty:
        show.not_there("Self-reinforcement of this run", ["self_reinforcement"], "Choose another.")
        return
    among = kinds.reinforcement_clusters(subject)
    show.tiles(tiles(heads, among, queries.relations(generation)["self_reinforcing_heads"]))
    st.caption(f"Measured on {among.text}, {int(heads['n_tokens'].max()):,} tokens.")
    names = list(heads.sort_values(["layer", "head"])["name"])
    chosen = state.pick_one(
        "Head", "reinforced", names, heads["name"].iloc[0], help="The default represses most."
    )
    clicked = show_figure("section 5.3", subject, click="Click a head to see its tokens below.")
    if clicked:
        picked = words.head(*(int(n) for n in clicked[:2]))
        if picked != chosen and picked != st.session_state.get("slope_clicked"):
            st.session_state["slope_clicked"] = picked
            state.choose("reinforced", picked)
            st.rerun()
    layer, head = words.layer_and_head(chosen) or (0, 0)
    subject = replace(subject, layer=layer, head=head)
    left, right = st.columns(2)
    with left:
        show_figure("19", subject)
    with right:
        by_scale = detail_questions.reinforcement_by_scale(subject)
        show.table(
            f"{chosen}: means at each scale (appendix E)",
            by_scale,
            generation,
            key="reinforcement_by_scale",
            relation="self_reinforcement_by_scale",
        )


page()

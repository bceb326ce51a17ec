"""Model: all heads of one run, as a scatter, a map and a table; who repairs whom; the authors'."""

import streamlit as st

from selfrepair.app.charts import effect_charts, repair_charts, run_charts
from selfrepair.app.page_parts import authors, frame, show, state
from selfrepair.app.questions import detail_questions, queries, run_questions
from selfrepair.app.questions.queries import Serving
from selfrepair.app.questions.run_questions import ABOUT_REPAIR, KEPT_HEADS, QUANTITIES, RATIOS
from selfrepair.app.wording import glossary, kinds, words
from selfrepair.app.wording.headline import all_kinds, headline

TABLE = [
    "name", "kind", "self_repair", "self_repair_se", "direct_effect", "direct_effect_removed",
    "share_removed", "share_hidden", "logit_change", "self_repair_from_heads",
    "self_repair_from_mlps", "self_repair_from_layernorm", "layernorm_fraction_of_means",
    "layernorm_fraction_clipped", "heads_fraction_clipped", "mlps_fraction_clipped",
    "share_overcorrected", "share_broken", "n_rows", "n_clusters",
]  # fmt: skip


def open_head(run: str, ablation: str, layer: object, head: object) -> None:
    state.open_page("head", run=run, ablation=ablation, head=f"L{layer}H{head}")


AXES = {"direct_effect": "direct effect", "direct_effect_removed": "what was removed"}
TITLES = {
    "direct_effect": "Direct effect against logit change (Fig. 2)",
    "direct_effect_removed": "What was removed against logit change",
}


def nothing_kept() -> None:
    """Where the filter leaves no head."""
    st.info("No head is like that. Loosen the filter.", icon=":material/filter_alt_off:")


def scatter(serving: Serving, run: str, ablation: str, choice: str) -> None:
    """Fig. 2, and the same of what was removed."""
    answer = run_questions.effects(serving, run, ablation)
    of = state.one_of(
        "Across",
        "across",
        list(AXES),
        kind="row",
        shown=AXES.__getitem__,
        help="The paper draws the direct effect. What was removed of it is what self-repair "
        "answers to.",
    )
    rows = kinds.kept(answer.frame, choice)
    if rows.empty:
        nothing_kept()
        return
    unit = queries.meaning(serving, "direct_effect")
    among = kinds.clusters(serving, run)
    clicked = show.chart(
        TITLES[of],
        effect_charts.effects(
            rows,
            words.axis(of, unit, ", mean over all tokens"),
            words.axis("logit_change", unit, ", mean over all tokens"),
            run_charts.map_height(rows["layer"].nunique()),
            of,
        ),
        answer,
        key=f"effects_{of}",
        caption=f"{kinds.zone(answer.frame, among)} Click a head to open it.",
        definitions=show.defined(
            serving, ["direct_effect", "direct_effect_removed", "logit_change"]
        )
        + "\n"
        + glossary.explained("repaired"),
        clickable=True,
        framed=False,
    )
    if clicked:
        layer, head = (int(number) for number in clicked[:2])
        open_head(run, ablation, layer, head)


def heat_map(serving: Serving, run: str, ablation: str, choice: str) -> None:
    """A cell per head, of any quantity."""
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    quantity = state.one_of(
        "Map of", "quantity", list(QUANTITIES), "self_repair", shown=words.name, place=left
    )
    with right:
        over_all = state.switch(
            "over all tokens", "all", help="Off: over each head's top rows by direct effect."
        )
    suffix = "_all" if over_all else ""
    column = f"{quantity}{suffix}"
    answer = run_questions.heads(serving, run, ablation)
    rows = kinds.kept(answer.frame, choice, suffix)
    if rows.empty:
        nothing_kept()
        return
    said = queries.meaning(serving, quantity, "head_summary")
    caption = "Mean over " + (
        "all tokens" if over_all else f"the top {words.share(rows['top_fraction'].iloc[0])}"
    )
    little = int(rows[f"share_removed{suffix}"].map(kinds.is_little).sum())
    if quantity in ABOUT_REPAIR and little:
        caption += (
            f". ○: {kinds.LITTLE} of the head's direct effect ({little} of {len(rows)} heads), so "
            "that its self-repair says little"
        )
    if quantity in RATIOS:
        caption += ". Colours end at ±1; ▲ ▼: beyond that"
    clicked = show.chart(
        f"{words.name(quantity).capitalize()} of every head",
        run_charts.heat_map(
            rows,
            column,
            has_sign=QUANTITIES[quantity],
            dark=show.is_dark(),
            unit=words.unit(said),
            ends=1.0 if quantity in RATIOS else None,
            removed=f"share_removed{suffix}" if quantity in ABOUT_REPAIR else None,
        ),
        answer,
        key=f"heads_{column}",
        caption=f"{caption}. Click a cell to open the head.",
        definitions=show.defined(serving, [quantity], "head_summary"),
        clickable=True,
        framed=False,
    )
    if clicked:
        layer, head = (int(number) for number in clicked[:2])
        open_head(run, ablation, layer, head)


def table(serving: Serving, run: str, ablation: str, choice: str) -> None:
    """All heads, sortable."""
    answer = run_questions.heads(serving, run, ablation)
    rows = kinds.kept(answer.frame, choice)
    if rows.empty:
        return
    among = kinds.clusters(serving, run)
    n = len(answer.frame)
    known = answer.frame["kind"].notna().any()
    labels = f"labelled {among.level(n)}" if known else among.why_no_label or kinds.TOO_FEW_ROWS
    selected = show.table(
        "All heads" if choice == "all" else f"{len(rows)} of {n} heads: {choice}",
        answer,
        serving,
        key="heads",
        relation="head_summary",
        frame=rows[TABLE],
        selectable=True,
        height=420,
        caption="Means over each head's top rows. Where the share removed is below 50 %, "
        f"self-repair says little. Kinds are {labels}. Click a header to sort, point at it for its "
        "definition; tick a row to open the head.",
    )
    if selected is not None:
        row = rows.iloc[selected]
        open_head(run, ablation, row["layer"], row["head"])


PAIR = [
    "ablated", "repairer", "direct_effect_change", "direct_effect_change_se",
    "direct_effect_change_trimmed", "n_rows", "n_clusters",
]  # fmt: skip


def who_repairs_whom(serving: Serving, run: str, ablation: str) -> None:
    """Every downstream component's part in repairing each head, beyond the paper."""
    if missing := queries.lacking(serving, "component_repair_means"):
        show.not_there("Who repairs whom", missing, "Runs measured by this version have it.")
        return
    with st.container(border=True):
        choice = state.one_of(
            "Leave out positions",
            "left_out",
            list(detail_questions.LEFT_OUT),
            kind="row",
            help="Of every sequence: the first is BOS where sequences begin with it; attention "
            "sinks are at the first few.",
        )
        answer = detail_questions.who_repairs_whom(
            serving, run, ablation, detail_questions.LEFT_OUT[choice]
        )
        if answer.frame.empty:
            show.not_there(
                "Who repairs whom", ["component_repair_means"], "Choose another run or positions."
            )
            return
        clicked = show.chart(
            "Who repairs whom",
            repair_charts.who_repairs_whom(
                answer.frame,
                dark=show.is_dark(),
                link=lambda name: _address(serving, run, ablation, name),
            ),
            answer,
            key=f"who_repairs_whom_{detail_questions.LEFT_OUT[choice]}",
            caption="Mean change in the component's direct effect on the ablated head's top rows: "
            f"the {detail_questions.MOST_HEADS} most self-repaired heads, and the "
            f"{detail_questions.MOST_COMPONENTS} components whose part beyond noise is largest. "
            f"{repair_charts.CAPTION} Click a cell to open its ablated head, a name to open that "
            "head.",
            definitions=show.defined(
                serving,
                ["direct_effect_change", "direct_effect_change_trimmed"],
                "component_repair_means",
            ),
            clickable=True,
            framed=False,
        )
    if clicked:
        open_head(run, ablation, int(clicked[0]), int(clicked[1]))
    few = repair_charts.made_by_few(answer.frame)
    if len(few):
        show.table(
            "Means that a few tokens make",
            answer,
            serving,
            key="made_by_few",
            relation="component_repair_means",
            frame=few[PAIR],
            height=min(320, 36 * (len(few) + 1)),
            caption=f"{len(few)} of the {len(answer.frame)} pairs above: without a hundredth of "
            "the rows at either side, and one row at least, the mean is more than one standard "
            "error elsewhere.",
        )


def _address(serving: Serving, run: str, ablation: str, name: str) -> str | None:
    """The page about a component, beside this one: a head's, or the last MLP layer's neurons."""
    page = "head"
    if words.layer_and_head(name) is None:
        runs = run_questions.runs(serving).frame.set_index("run_id")
        if name != f"MLP {int(runs.loc[run, 'n_layers']) - 1}":
            return None
        page = "neurons"
    chosen = {"run": run, "ablation": ablation} | ({"head": name} if page == "head" else {})
    # Plotly encodes what is encoded once more, so that these characters cannot be written at all.
    if set("".join(chosen.values())) & set("&#%+<>\"'"):
        return None
    return f"{page}?" + "&".join(f"{key}={value}" for key, value in chosen.items())


def page() -> None:
    serving = frame.serving_or_stop("Model")
    st.title("Model")
    run, ablation, _, _ = frame.picked(serving)
    told = headline(serving, run, ablation)
    show.tiles(told.tiles)
    st.caption(
        f"{all_kinds(told.numbers, told.among)} Text: {told.among.text}; {told.among.errors}."
    )
    choice = str(
        state.one_of(
            "Heads",
            "heads",
            KEPT_HEADS,
            kind="row",
            help="By what the ablation removed of a head, and by its kind: over all tokens in the "
            "scatter, over top rows in the table, over either in the map.",
        )
    )
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        scatter(serving, run, ablation, choice)
    with right.container(border=True, height="stretch"):
        heat_map(serving, run, ablation, choice)
    table(serving, run, ablation, choice)
    who_repairs_whom(serving, run, ablation)
    if not queries.lacking(serving, "beside_paper"):
        authors.beside(serving, run)


page()

"""Model: all heads of one run, as a scatter, a map and a table; who repairs whom; the authors'."""

import streamlit as st

from selfrepair.app.charts import repair_charts, run_charts
from selfrepair.app.page_parts import authors, show, state, surroundings
from selfrepair.app.page_parts.show_figure import show_figure
from selfrepair.app.questions import detail_questions, queries, run_questions
from selfrepair.app.questions.run_questions import KEPT_HEADS, QUANTITIES
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import kinds, words
from selfrepair.app.wording.headline import all_kinds, headline

TABLE = [
    "name", "kind", "self_repair", "self_repair_se", "direct_effect", "direct_effect_removed",
    "share_removed", "share_hidden", "logit_change", "self_repair_from_heads",
    "self_repair_from_mlps", "self_repair_from_post_norm", "self_repair_from_layernorm",
    "layernorm_fraction_of_means", "layernorm_fraction_clipped", "heads_fraction_clipped",
    "mlps_fraction_clipped",
    "share_overcorrected", "share_broken", "n_rows", "n_clusters",
]  # fmt: skip


AXES = {"direct_effect": "direct effect", "direct_effect_removed": "what was removed"}


def open_head(subject: Subject, layer: int, head: int) -> None:
    state.open_page(
        "head", run=subject.run, ablation=subject.ablation, head=words.head(layer, head)
    )


def nothing_kept() -> None:
    """Where the filter leaves no head."""
    st.info("No head is like that. Loosen the filter.", icon=":material/filter_alt_off:")


def scatter(subject: Subject, choice: str) -> None:
    """Fig. 2, and the same of what was removed."""
    across = state.pick_one(
        "Across",
        "across",
        list(AXES),
        kind="row",
        shown=AXES.__getitem__,
        help="The paper draws the direct effect. What was removed of it is what self-repair "
        "answers to.",
    )
    if kinds.kept(run_questions.effects(subject).frame, choice).empty:
        nothing_kept()
        return
    clicked = show_figure(
        "2",
        subject,
        across=across,
        kept=choice,
        same_height=True,
        key=f"effects_{across}",
        click="Click a head to open it.",
        border=False,
    )
    if clicked:
        open_head(subject, int(clicked[0]), int(clicked[1]))


def heat_map(subject: Subject, choice: str) -> None:
    """A cell per head, of any quantity."""
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    answer = run_questions.heads(subject)
    quantities = run_charts.there(QUANTITIES, answer.frame)
    quantity = state.pick_one(
        "Map of", "quantity", quantities, "self_repair", shown=words.name, place=left
    )
    with right:
        over_all = state.switch(
            "over all tokens", "all", help="Off: over each head's top rows by direct effect."
        )
    suffix = "_all" if over_all else ""
    if kinds.kept(answer.frame, choice, suffix).empty:
        nothing_kept()
        return
    clicked = show_figure(
        "map",
        subject,
        quantity=quantity,
        rows="all tokens" if over_all else "top by direct effect",
        kept=choice,
        columns=[quantity],
        key=f"heads_{quantity}{suffix}",
        click="Click a cell to open the head.",
        border=False,
    )
    if clicked:
        open_head(subject, int(clicked[0]), int(clicked[1]))


def table(subject: Subject, choice: str) -> None:
    """All heads, sortable."""
    answer = run_questions.heads(subject)
    rows = kinds.kept(answer.frame, choice).sort_values(
        "self_repair", ascending=False, kind="stable"
    )
    if rows.empty:
        return
    among = kinds.clusters(subject)
    n = len(answer.frame)
    known = answer.frame["kind"].notna().any()
    labels = f"labelled {among.level(n)}" if known else among.why_no_label or kinds.TOO_FEW_ROWS
    selected = show.table(
        ("All heads" if choice == "all" else f"{len(rows)} of {n} heads: {choice}")
        + ", the most repaired first",
        answer,
        subject.generation,
        key="heads",
        relation="head_summary",
        frame=rows[run_charts.there(TABLE, answer.frame)],
        selectable=True,
        height=420,
        caption="Means over each head's top rows. Where the share removed is below 50 %, "
        f"self-repair says little. Kinds are {labels}. Click a header to sort, point at it for its "
        "definition; tick a row to open the head.",
    )
    if selected is not None:
        row = rows.iloc[selected]
        open_head(subject, row["layer"], row["head"])


PAIR = [
    "ablated", "repairer", "direct_effect_change", "direct_effect_change_se",
    "direct_effect_change_trimmed", "n_rows", "n_clusters",
]  # fmt: skip


def who_repairs_whom(subject: Subject) -> None:
    """Every downstream component's part in repairing each head, beyond the paper."""
    if missing := queries.lacking(subject.generation, "component_repair_means"):
        show.not_there("Who repairs whom", missing, "Runs measured by this version have it.")
        return
    with st.container(border=True):
        choice = state.pick_one(
            "Leave out positions",
            "left_out",
            list(detail_questions.LEFT_OUT),
            kind="row",
            help="Of every sequence: the first is BOS where sequences begin with it; attention "
            "sinks are at the first few.",
        )
        left_out = detail_questions.LEFT_OUT[choice]
        clicked = show_figure(
            "who repairs whom",
            subject,
            left_out=left_out,
            link=lambda name: _address(subject, name),
            key=f"who_repairs_whom_{left_out}",
            click="Click a cell to open its ablated head, a name to open that head.",
            border=False,
        )
    if clicked:
        open_head(subject, int(clicked[0]), int(clicked[1]))
    answer = detail_questions.who_repairs_whom(subject, left_out)
    few = repair_charts.made_by_few(answer.frame)
    if len(few):
        show.table(
            "Means that a few tokens make",
            answer,
            subject.generation,
            key="made_by_few",
            relation="component_repair_means",
            frame=few[PAIR],
            height=min(320, 36 * (len(few) + 1)),
            caption=f"{len(few)} of the {len(answer.frame)} pairs above: without a hundredth of "
            "the rows at either side, and one row at least, the mean is more than one standard "
            "error elsewhere.",
        )


def _address(subject: Subject, name: str) -> str | None:
    """The page about a component, beside this one: a head's, or the last MLP layer's neurons."""
    chosen = {"run": subject.run, "ablation": subject.ablation}
    page = "head"
    if words.layer_and_head(name):
        chosen["head"] = name
    else:
        runs = run_questions.runs(subject.generation).frame.set_index("run_id")
        if name != f"MLP {int(runs.loc[subject.run, 'n_layers']) - 1}":
            return None
        page = "neurons"
    # Plotly encodes what is encoded once more, so that these characters cannot be written at all.
    if set("".join(chosen.values())) & set("&#%+<>\"'"):
        return None
    return f"{page}?" + "&".join(f"{key}={value}" for key, value in chosen.items())


def page() -> None:
    generation = surroundings.generation_or_stop("Model")
    st.title("Model")
    subject = surroundings.picked(generation)
    run = headline(subject)
    show.tiles(run.tiles)
    st.caption(f"{all_kinds(run.numbers, run.among)} Text: {run.among.text}; {run.among.errors}.")
    choice = str(
        state.pick_one(
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
        scatter(subject, choice)
    with right.container(border=True, height="stretch"):
        heat_map(subject, choice)
    table(subject, choice)
    who_repairs_whom(subject)
    authors.beside(subject)


page()

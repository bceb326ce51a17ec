"""Token: a text is searched in the whole corpus, a token opened, and every head is shown there."""

from dataclasses import replace
from urllib.parse import urlencode

import streamlit as st

from selfrepair.app.charts.run_charts import PARTS, there
from selfrepair.app.page_parts import show, state, surroundings, token_view
from selfrepair.app.page_parts.repairers import repairers
from selfrepair.app.questions import search_questions
from selfrepair.app.questions.subject import Subject
from selfrepair.app.questions.token_questions import KINDS, ORDERS
from selfrepair.app.wording import words

PER_PAGE = 100
TEXTS = ("text_before", "target_text", "text_after")
SHOWN = (
    *("open_head", "direct_effect", "direct_effect_removed", "logit_change", "self_repair"),
    *("repairers", *PARTS, "overcorrected", "broken"),
)


def search(subject: Subject) -> None:
    """A page of the tokens at which the text begins; a ticked one is opened."""
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    with left:
        text = state.text(
            "Find in the corpus",
            "search",
            placeholder="a word, or a part of a sentence",
            help="In the text as the model read it, whatever tokens it is cut into; capitals do "
            "not count. A sequence's first token is not predicted, and so not found.",
        )
    first = search_questions.found(subject, text, limit=PER_PAGE, offset=0)
    if first.frame.empty:
        st.info("This run's text does not have that.", icon=":material/search_off:")
        return
    n_found = int(first.frame["n_found"].iloc[0])
    n_pages = -(-n_found // PER_PAGE)
    page = state.whole_number(f"Page (of {n_pages:,})", "search_page", 1, n_pages, place=right)
    offset = PER_PAGE * (page - 1)
    answer = (
        first if page == 1 else search_questions.found(subject, text, limit=PER_PAGE, offset=offset)
    )
    rows = answer.frame.drop(columns="n_found")
    in_a_line = {name: rows[name].fillna("").map(words.token) for name in TEXTS}
    ticked = show.table(
        f"{n_found:,} tokens" + (f" where “{text}” begins" if text else " of this run"),
        answer,
        subject.generation,
        key=f"found_{page}",
        relation="tokens",
        frame=rows.assign(**in_a_line),
        selectable=True,
        caption="Tick a row to open the token.",
    )
    if ticked is not None:
        row = rows.iloc[ticked]
        state.choose("at", f"{row['sequence']}:{row['position']}")
        st.rerun()


def opened(subject: Subject, sequence: int, position: int) -> None:
    """One token: its text, every head there, and who repaired the one that is chosen."""
    text = search_questions.sequence_of(subject, sequence)
    positions = text.frame["position"].tolist()
    back, before, after, _ = st.columns([2, 2, 2, 4])
    for place, label, to, icon in (
        (back, "Back to the search", "", ":material/search:"),
        (before, "Previous token", position - 1, ":material/arrow_back:"),
        (after, "Next token", position + 1, ":material/arrow_forward:"),
    ):
        place.button(
            label,
            icon=icon,
            on_click=state.choose,
            args=("at", "" if to == "" else f"{sequence}:{to}"),
            disabled=to != "" and to not in positions,
            width="stretch",
        )
    if position not in positions:
        st.info(
            f"This run has no position {position} in sequence {sequence}.",
            icon=":material/search_off:",
        )
        return
    here = text.frame[text.frame["position"] == position].iloc[0]
    with st.container(border=True):
        show.heading(
            f"Sequence {sequence}, position {position}: predicting “"
            f"{words.token(here['target_text'])}” after “{words.token(here['token_text'])}”"
        )
        st.caption(f"The target's logit on the clean run: {words.signed(here['logit'])}.")
        with st.container(height=220, border=False):
            st.html(token_view.colored(text.frame, None, mark=position, lines=True))
        show.behind(text, "sequence")
    heads(subject, sequence, position)


def heads(subject: Subject, sequence: int, position: int) -> None:
    """Every head at the token, sorted and filtered; and the chosen one's repairers."""
    left, right = st.columns(2)
    order = state.pick_one("Order", "order", list(ORDERS), "largest self-repair", place=left)
    kind = state.pick_one(
        "Keep",
        "kind",
        list(KINDS),
        place=right,
        help=show.defined(subject.generation, ["overcorrected", "broken"]),
    )
    answer = search_questions.heads_at(subject, sequence, position, order=order, kind=kind)
    if answer.frame.empty:
        st.info("No head is like that here. Loosen the filter.", icon=":material/filter_alt_off:")
        return
    place = f"{sequence}:{position}"
    chosen = {"run": subject.run, "ablation": subject.ablation}
    links = [
        "head?" + urlencode(chosen | {"head": name, "view": "Tokens", "instance": place})
        for name in answer.frame["name"]
    ]
    show.table(
        f"{len(answer.frame):,} heads at this token, {order} first",
        answer,
        subject.generation,
        key=f"heads_at_{order}_{kind}",
        relation="self_repair",
        frame=answer.frame.assign(open_head=links)[there(SHOWN, answer.frame)],
        height=420,
        caption="A head's name opens it at this token, in another tab. Repairers: the "
        f"{search_questions.MOST_REPAIRERS} components whose direct effect changed most, kept "
        "where the token is among the head's top rows by direct effect.",
    )
    known = answer.frame[answer.frame["repairers"].notna()]["name"]
    names = list(answer.frame["name"])
    picked = state.pick_one(
        "Who repaired", "of_head", names, known.iloc[0] if len(known) else names[0]
    )
    state.link("head", f"Open {picked} at this token", **chosen, head=picked, view="Tokens",
               instance=place, icon=":material/center_focus_strong:")  # fmt: skip
    layer, head = words.layer_and_head(picked) or (0, 0)
    repairers(replace(subject, layer=layer, head=head), sequence, position)


def page() -> None:
    generation = surroundings.generation_or_stop("Token")
    st.title("Token")
    subject = surroundings.picked(generation)
    place = state.value("at")
    sequence, _, position = place.partition(":")
    if sequence.isdecimal() and position.isdecimal() and len(place) < 20:
        opened(subject, int(sequence), int(position))
    else:
        search(subject)


page()

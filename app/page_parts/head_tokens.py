"""The tokens themselves: a head's instances with their text, and one of them opened."""

from typing import Any

import pandas as pd
import streamlit as st

from selfrepair.app.page_parts import show, state, token_view
from selfrepair.app.page_parts.repairers import repairers
from selfrepair.app.page_parts.show_figure import show_figure
from selfrepair.app.page_parts.token_view import Scale
from selfrepair.app.questions import token_questions
from selfrepair.app.questions.head_questions import ROWS_OF
from selfrepair.app.questions.queries import Answer
from selfrepair.app.questions.subject import Subject
from selfrepair.app.questions.token_questions import FULL_COLOR, KINDS, ORDERS
from selfrepair.app.wording import words
from selfrepair.app.wording.kinds import LITTLE, is_little

PER_PAGE = 8
BEFORE, AFTER = 28, 10  # tokens around a target
COLORED_BY = ["self_repair", "direct_effect", "direct_effect_removed", "logit_change"]
BEYOND = f"{words.share(1 - FULL_COLOR)} of the head's tokens"


def color_scale(subject: Subject, quantity: str) -> Scale:
    """The scale of a head's quantity, the same in the list and in an opened token."""
    found = token_questions.color_scale(subject, quantity).frame
    largest = float(found["largest"].iloc[0])
    return Scale(quantity, largest if largest > 0 else 1e-6, show.is_dark())


def tokens(subject: Subject) -> None:
    """The list of instances, or the one that the address names."""
    place = state.value("instance")
    sequence, _, position = place.partition(":")
    if sequence.isdecimal() and position.isdecimal() and len(place) < 20:
        opened(subject, int(sequence), int(position))
    else:
        listed(subject)


def listed(subject: Subject) -> None:
    """One page of instances, filtered and ordered."""
    a, b, c = st.columns(3)
    d, e, f = st.columns(3)
    rows = state.pick_one(
        "Tokens",
        "rows",
        list(ROWS_OF),
        place=a,
        help="Top by direct effect is the paper's choice of rows (section 2.2).",
    )
    order = state.pick_one("Order", "order", list(ORDERS), place=b)
    quantity = state.pick_one(
        "Colour", "colour", COLORED_BY, shown=lambda name: f"by {words.name(name)}", place=c
    )
    kind = state.pick_one(
        "Keep",
        "kind",
        list(KINDS),
        place=d,
        help=show.defined(subject.generation, ["overcorrected", "broken"]),
    )
    with e:
        search = state.text("Find in the token or target", "find", placeholder="any text")
    asked = {"rows": rows, "order": order, "kind": kind, "search": search}

    def page(number: int) -> Answer:
        offset = PER_PAGE * (number - 1)
        return token_questions.instances(subject, **asked, limit=PER_PAGE, offset=offset)

    remembered = state.recall("page")
    is_number = remembered.isdecimal() and len(remembered) < 10
    likely = max(1, int(remembered)) if is_number else 1
    answer = page(likely)
    if answer.frame.empty and likely > 1:  # there are fewer pages of what is asked for now
        likely, answer = 1, page(1)
    if answer.frame.empty:
        st.info("No token is like that. Loosen the filter.", icon=":material/filter_alt_off:")
        in_all(subject, asked)
        return
    n_found = int(answer.frame["n_found"].iloc[0])
    n_pages = -(-n_found // PER_PAGE)
    number = state.whole_number(f"Page (of {n_pages:,})", "page", 1, n_pages, place=f)
    if number != likely:
        answer = page(number)
    found = answer.frame
    around = token_questions.stretches(
        subject,
        places=list(zip(found["sequence"], found["position"], strict=True)),
        before=BEFORE,
        after=AFTER,
    ).frame
    scale = color_scale(subject, quantity)
    with st.container(border=True):
        show.heading(
            f"{n_found:,} tokens: {rows}, {order} first",
            show.defined(
                subject.generation,
                ["direct_effect", "direct_effect_removed", "self_repair", "logit_change"],
            ),
        )
        st.html(token_view.legend(scale, BEYOND))
        for row in found.itertuples(index=False):
            text = around[(around["sequence"] == row.sequence) & (around["place"] == row.position)]
            _instance(row, text, scale)
        show.behind(answer, "tokens")


def in_all(subject: Subject, asked: dict[str, str]) -> None:
    """Offers all of the head's tokens, where the chosen rows have none that is asked for."""
    every = "all tokens"
    if asked["rows"] == every:
        return
    more = token_questions.instances(subject, **(asked | {"rows": every}), limit=1, offset=0).frame
    if len(more):
        st.button(
            f"Look in all tokens: {int(more['n_found'].iloc[0]):,} are",
            icon=":material/search:",
            on_click=state.choose,
            args=("rows", every),
        )


def _instance(row: Any, text: pd.DataFrame, scale: Scale) -> None:
    """One instance: its numbers, its text, and the button that opens it."""
    with st.container(border=True):
        left, right = st.columns([6, 1], vertical_alignment="center")
        kinds = [word for word in ("overcorrected", "broken") if getattr(row, word)]
        if row.direct_effect and is_little(row.direct_effect_removed / row.direct_effect):
            kinds.append(LITTLE)
        left.markdown(
            f"direct effect **{words.signed(row.direct_effect)}**, "
            f"removed **{words.signed(row.direct_effect_removed)}** · "
            f"logit change **{words.signed(row.logit_change)}** · "
            f"self-repair **{words.signed(row.self_repair)}** "
            f"(heads {words.signed(row.self_repair_from_heads)}, "
            f"MLPs {words.signed(row.self_repair_from_mlps)}, "
            + (
                f"post-norm {words.signed(row.self_repair_from_post_norm)}, "
                if row.self_repair_from_post_norm
                else ""
            )
            + f"LayerNorm {words.signed(row.self_repair_from_layernorm)})"
            + "".join(f" :orange-badge[{word}]" for word in kinds)
            + f" :gray[sequence {row.sequence}, position {row.position}]"
        )
        right.button(
            "Open token",
            key=f"open:{row.sequence}:{row.position}",
            on_click=state.choose,
            args=("instance", f"{row.sequence}:{row.position}"),
            width="stretch",
        )
        st.html(token_view.colored(text, scale, mark=int(row.position)))


def opened(
    subject: Subject,
    sequence: int,
    position: int,
) -> None:
    """One instance: its whole sequence, and what happened to the target's logit."""
    left, middle, right = st.columns([2, 3, 3], vertical_alignment="bottom")
    left.button(
        "Back to the list",
        icon=":material/arrow_back:",
        on_click=state.choose,
        args=("instance", ""),
    )
    with middle:
        state.link(
            "token",
            "Every head at this token",
            icon=":material/notes:",
            run=subject.run,
            ablation=subject.ablation,
            at=f"{sequence}:{position}",
        )
    quantity = state.pick_one(
        "Colour", "colour", COLORED_BY, shown=lambda name: f"by {words.name(name)}", place=right
    )
    answer = token_questions.stretches(
        subject,
        places=[(sequence, position)],
        before=1_000_000,
        after=1_000_000,
    )
    text = answer.frame
    if not (text["position"] == position).any():
        st.info(
            f"This run has no position {position} in sequence {sequence}.",
            icon=":material/search_off:",
        )
        return
    here = text[text["position"] == position].iloc[0]
    target = words.token(here["target_text"])
    scale = color_scale(subject, quantity)
    with st.container(border=True):
        show.heading(
            f"Sequence {sequence}, position {position}: predicting “{target}”",
            show.defined(subject.generation, [quantity]),
        )
        st.html(token_view.legend(scale, BEYOND))
        st.html(token_view.colored(text, scale, mark=position, lines=True))
        show.behind(answer, "sequence")
    all_ablations = token_questions.instance(subject, sequence, position)
    show_figure("one token", subject, sequence=sequence, position=position)
    show.table(
        "This token under every ablation" if len(all_ablations.frame) > 1 else "This token",
        all_ablations,
        subject.generation,
        key="one_token_ablations",
        relation="self_repair",
    )
    repairers(subject, sequence, position)

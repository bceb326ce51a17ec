"""A page's state is its address: what is chosen is in the query parameters, and the other way.

The rule: if the address is not the one that was last written here, it comes from outside (a link,
a bookmark, the back button) and what it says is taken; else what the widgets say is written to it.
What is chosen on one page (run, ablation, head) is remembered for the others. Defaults are written
too, so that a link keeps its meaning when they change.
"""

# Streamlit's own `bind="query-params"` was tried in the place of this file (1.67.0, in Chromium).
# It cannot do what the pages need:
# - it leaves defaults out, so that a link without a run means another run after the next one;
# - a bound choice is not taken along to another page, and a link's or `switch_page`'s parameter for
#   a widget of the other page is dropped where a widget of this page is bound to that name;
# - what has no widget (an opened token, the SQL statement) cannot be beside it: `from_dict` and
#   `clear` raise an error where any parameter is bound.
# Switches and lines of text alone could be bound, but for the last reason not beside the others.

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import streamlit as st

WIDGET = "widget:"
Label = Callable[[Any], str]


def begin(page: str) -> None:
    """Takes what the address says where it was changed from outside; call it before the page.

    An address without anything, on the page that was shown before, is the back button's (or the
    page's own link): it shows the defaults, and is not written over, which would make the way back
    endless.
    """
    session = st.session_state
    address = {name: ",".join(st.query_params.get_all(name)) for name in st.query_params}
    written, same_page = session.get("written"), session.get("page") == page
    before, since = session.get("before", (None, 0.0))
    # A click that overtakes the address' own update still carries the address before it.
    overtaken = address == before and same_page and time.monotonic() - since < 1
    session["left_alone"] = not address and bool(written) and same_page and not overtaken
    remembered = session.setdefault("remembered", {})
    for kept in ("asked", "wrong"):
        if not same_page:
            session[kept] = {}
    if not same_page:  # Streamlit drops the value of another page's widget of the same key
        for name in remembered:
            session.pop(WIDGET + name, None)
    if session["left_alone"]:
        for name in [*remembered]:
            choose(name, "")
            del remembered[name]
    elif address != written and not overtaken:
        session["wrong"] = {}
        session["asked"] = dict(address)
        for name, value in address.items():
            choose(name, value)
    session["before"] = (address, time.monotonic())
    session["written"] = address
    session["page"] = page
    session["chosen"] = {}


def finish() -> None:
    """Writes what the page's widgets say to the address; call it after the page."""
    chosen = st.session_state["chosen"]
    if chosen != st.session_state["written"] and not st.session_state["left_alone"]:
        st.query_params.from_dict(chosen)
        st.session_state["written"] = chosen


def value(name: str, default: str = "") -> str:
    """What is chosen for `name`, as text; it is written to the address."""
    chosen = str(st.session_state["remembered"].get(name, default))
    _write(name, chosen)
    return chosen


def choose(name: str, new: str) -> None:
    """Chooses `new` for `name` in the program; its widget follows in the same script run."""
    st.session_state["remembered"][name] = new
    st.session_state.pop(WIDGET + name, None)


def choose_all(**chosen: str) -> None:
    """Chooses several values."""
    for name, new in chosen.items():
        choose(name, new)


def recall(name: str) -> str:
    """What is remembered for `name`, here or from another page; it is not written."""
    return str(st.session_state["remembered"].get(name, ""))


def pick_one(
    label: str,
    name: str,
    options: Sequence[Any],
    default: Any = None,
    *,
    shown: Label = str,
    kind: str = "list",
    help: str | None = None,
    place: Any = st,
) -> Any:
    """A choice of one option. kind: "list" (select box) or "row" (segmented control)."""
    by_text = {str(option): option for option in options}
    usual = default if default in options else options[0]
    chosen = by_text.get(str(st.session_state["remembered"].get(name)), usual)
    _compare_with_link(label, name, list(by_text))
    _seed(name, chosen, lambda held: held in options)
    if kind == "row":
        picked = place.segmented_control(
            label,
            options,
            required=True,
            format_func=shown,
            key=WIDGET + name,
            help=help,
        )
    else:
        picked = place.selectbox(label, options, format_func=shown, key=WIDGET + name, help=help)
    return _keep(name, usual if picked is None else picked)


def pick_several(
    label: str,
    name: str,
    options: Sequence[str],
    default: Iterable[str],
    *,
    shown: Label = str,
    help: str | None = None,
) -> list[str]:
    """A choice of several options; none of those that are offered means the default."""
    remembered = str(st.session_state["remembered"].get(name, "")).split(",")
    chosen = [option for option in options if _without_comma(option) in remembered]
    offered = [_without_comma(option) for option in options]
    asked = [one for one in st.session_state["asked"].get(name, "").split(",") if one]
    st.session_state["asked"][name] = ", ".join(one for one in asked if one not in offered)
    _compare_with_link(label, name, offered)
    _seed(name, chosen or list(default), lambda held: set(held) <= set(options))
    picked = st.multiselect(label, options, format_func=shown, key=WIDGET + name, help=help)
    _keep(name, ",".join(_without_comma(option) for option in picked))
    return list(picked)


def text(label: str, name: str, *, placeholder: str = "", help: str | None = None) -> str:
    """A line of text."""
    _seed(name, str(st.session_state["remembered"].get(name, "")), lambda held: True)
    typed = st.text_input(label, key=WIDGET + name, placeholder=placeholder, help=help)
    return str(_keep(name, typed.strip()))


def whole_number(label: str, name: str, lowest: int, highest: int, *, place: Any = st) -> int:
    """A whole number, such as the page of a list."""
    remembered = str(st.session_state["remembered"].get(name, ""))
    is_number = remembered.isdecimal() and len(remembered) < 10
    chosen = min(max(int(remembered) if is_number else lowest, lowest), highest)
    _compare_with_link(label, name, [str(chosen)])
    _seed(name, chosen, lambda held: lowest <= held <= highest)
    picked = place.number_input(label, lowest, highest, step=1, key=WIDGET + name)
    return int(_keep(name, int(picked)))


def switch(label: str, name: str, *, help: str | None = None) -> bool:
    """On or off; off is not written."""
    _seed(name, st.session_state["remembered"].get(name) == "True", lambda held: True)
    return str(_keep(name, st.toggle(label, key=WIDGET + name, help=help))) == "True"


def wrong(names: Iterable[str] | None = None) -> list[str]:
    """What the link asks for and is not there, a line each; of these choices, or of all.

    A line stays until something else is chosen there, or `forgive` is called.
    """
    notes: dict[str, tuple[str, str | None]] = st.session_state["wrong"]
    return [line for name, (line, _) in notes.items() if names is None or name in names]


def forgive() -> None:
    """Shows what is there in the place of what a link asks for in vain."""
    st.session_state["wrong"] = {}


def open_page(page: str, **chosen: str) -> None:
    """Goes to another page with these choices; the script run ends."""
    choose_all(**chosen)
    st.switch_page(f"app_pages/{page}.py", query_params=chosen)


def link(page: str, label: str, *, icon: str | None = None, **chosen: str) -> None:
    """A link to another page with these choices."""
    st.page_link(f"app_pages/{page}.py", label=label, icon=icon, query_params=chosen)


def _seed(name: str, chosen: Any, allowed: Callable[[Any], bool]) -> None:
    """Gives the widget its value where it has none, or one that is no longer offered."""
    key = WIDGET + name
    if key not in st.session_state or not allowed(st.session_state[key]):
        st.session_state[key] = chosen


def _compare_with_link(label: str, name: str, offered: Sequence[str]) -> None:
    """Notes, once, that the link asks for what is not offered."""
    asked = st.session_state["asked"].pop(name, "")
    if asked and asked not in offered:
        line = f"{label}: the link asks for `{asked.replace('`', '')}`."
        st.session_state["wrong"][name] = (line, None)


def _keep(name: str, chosen: Any) -> Any:
    notes = st.session_state["wrong"]
    if name in notes:  # a line of what the link asks for, and what was shown in its place
        line, shown = notes[name]
        if shown in (None, str(chosen)):
            notes[name] = line, str(chosen)
        else:
            del notes[name]
    st.session_state["remembered"][name] = str(chosen)
    _write(name, str(chosen))
    return chosen


def _write(name: str, chosen: str) -> None:
    """Notes a value for the address; an empty one, or a switch that is off, is left out."""
    st.session_state["chosen"].pop(name, None)
    if chosen not in ("", "False"):
        st.session_state["chosen"][name] = chosen


def _without_comma(option: str) -> str:
    """An option with its commas escaped: a comma stands between options in the address."""
    return option.replace(",", "%2C")

"""Statements that a visitor keeps in their own browser, by name: nothing is written on the server.

The browser's storage of this address has them; they are there again after a restart, and only for
whoever uses this browser.
"""

import json
from typing import Any

import streamlit as st

KEPT = "saved_statements"
MOST, LONGEST = 100, 20_000  # statements, and characters of one

# Without `data.kept` it hands over what the browser has; with it, it puts that there.
_browser = st.components.v2.component(
    "selfrepair_saved_statements",
    js="""
export default function ({ data, setStateValue }) {
  const place = 'selfrepair:statements'
  const found = localStorage.getItem(place) || '{}'
  if (data.kept) {
    localStorage.setItem(place, data.kept)
  } else {
    setStateValue('found', found)
  }
}
""",
)


def saved() -> dict[str, str]:
    """The visitor's statements by name, as far as the browser has told of them."""
    return dict(st.session_state.get(KEPT) or {})


def keep(name: str, text: str) -> None:
    """Saves a statement under a name, in the place of one that has it."""
    if name.strip() and text.strip() and len(saved()) < MOST and len(text) <= LONGEST:
        st.session_state[KEPT] = saved() | {name.strip()[:60]: text.strip()}
        st.session_state["saved_changed"] = True


def forget(name: str) -> None:
    """Removes a saved statement."""
    st.session_state[KEPT] = {own: text for own, text in saved().items() if own != name}
    st.session_state["saved_changed"] = True


def with_browser() -> None:
    """Hears from the browser what it has kept, once, and tells it what is changed here."""
    changed = st.session_state.get("saved_changed")
    kept = json.dumps(saved()) if changed else None
    answer: Any = _browser(data={"kept": kept}, key="browser", on_found_change=lambda: None)
    found = getattr(answer, "found", None)
    if changed or KEPT in st.session_state or not found:
        return
    st.session_state[KEPT] = _as_statements(found)
    if saved():
        st.rerun()


def _as_statements(found: str) -> dict[str, str]:
    """What a browser says it has kept, or what of it is names and texts."""
    try:
        told = json.loads(found)
    except ValueError:
        return {}
    pairs = told.items() if isinstance(told, dict) else ()
    return {str(n)[:60]: t for n, t in list(pairs)[:MOST] if isinstance(t, str)}

"""Statements that a visitor keeps in their own browser, by name: nothing is written on the server.

The browser's storage of this address has them; they are there again after a restart, and only for
whoever uses this browser. The browser alone changes what is kept: it is asked for one change and
answers with everything that it then has, so that no page overwrites what another one kept.
"""

import json
from typing import Any

import streamlit as st

MOST, LONGEST, LONGEST_NAME = 100, 20_000, 60  # statements, and characters of one and of its name
CHANGE = "statement_change"  # [name, text or null], until the browser has answered
COMPONENT = "statements_in_browser"
KEPT, REFUSED = "kept_statements", "statements_refused"

_browser = st.components.v2.component(
    "selfrepair_saved_statements",
    js="""
const place = 'selfrepair:statements'
let answered = null

function kept() {
  try {
    return JSON.parse(localStorage.getItem(place)) ?? {}
  } catch {
    return {}
  }
}

export default function ({ data, setStateValue }) {
  const statements = kept()
  let refused = ''
  if (data.change) {
    const [name, text] = data.change
    delete statements[name]
    if (text !== null) statements[name] = text
    try {
      localStorage.setItem(place, JSON.stringify(statements))
    } catch (error) {
      refused = error.name
    }
  }
  const answer = JSON.stringify({ statements: kept(), change: data.change, refused })
  if (answer !== answered) {
    answered = answer
    setStateValue('answer', answer)
  }
}
""",
)


def ask_browser() -> None:
    """Asks the browser for what it keeps, and for a change of it. Call it at the end of a page.

    An answer has the script begin anew. Before the browser has got every widget of the page, it
    would not know what the script has put into them, and would empty them.
    """
    change = st.session_state.get(CHANGE)
    _browser(data={"change": change}, key=COMPONENT, on_answer_change=_hear)


def _hear() -> None:
    """Takes the browser's answer, before the script begins anew."""
    answer = _parsed(st.session_state[COMPONENT].get("answer"))
    if answer is None:
        return
    if answer.get("change") == st.session_state.get(CHANGE):
        st.session_state.pop(CHANGE, None)
    st.session_state[KEPT] = _as_statements(answer.get("statements"))
    st.session_state[REFUSED] = str(answer.get("refused") or "")


def saved() -> dict[str, str] | None:
    """The visitor's statements by name; None until the browser has told of them."""
    if refused := st.session_state.get(REFUSED):
        st.error(f"The browser keeps no more statements ({refused}): remove one.")
    kept: dict[str, str] | None = st.session_state.get(KEPT)
    return kept


def why_not(name: str, text: str, own: dict[str, str] | None) -> str | None:
    """Why a statement cannot be kept under a name; None where it can."""
    if own is None:
        return "The browser has not said yet what it keeps."
    if not text.strip():
        return "There is no statement."
    if len(text) > LONGEST:
        return f"It has {len(text):,} characters; at most {LONGEST:,} are kept."
    if name.strip() not in own and len(own) >= MOST:
        return f"{MOST} statements are kept: remove one first."
    return None if name.strip() else "Give it a name."


def keep(name: str, text: str) -> None:
    """Has the browser keep a statement under a name, in the place of one that has it."""
    st.session_state[CHANGE] = [name.strip()[:LONGEST_NAME], text.strip()]


def forget(name: str) -> None:
    """Has the browser remove a statement."""
    st.session_state[CHANGE] = [name, None]


def _parsed(answer: str | None) -> dict[str, Any] | None:
    try:
        parsed = json.loads(answer or "null")
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _as_statements(kept: Any) -> dict[str, str]:
    """What a browser says it keeps, or what of it is names and texts."""
    pairs = kept.items() if isinstance(kept, dict) else ()
    return {
        str(name)[:LONGEST_NAME]: text[:LONGEST]
        for name, text in list(pairs)[:MOST]
        if isinstance(text, str)
    }

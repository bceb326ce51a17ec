"""What is said of a name that is not there."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The one line about a name that is not there: the nearest ones, or all where they are few."""
    known = list(dict.fromkeys(known))
    near = known if len(known) <= 3 else difflib.get_close_matches(name, known, 3, 0.4)
    shown = re.sub(r"\s+", " ", str(name))[:80]
    return f"there is no {what} {shown!r}; " + (
        f"nearest: {', '.join(near)}" if near else f"there are {len(known)}, from {known[0]}"
    )

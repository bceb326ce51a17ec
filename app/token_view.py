"""Text as it was read by the model, each token coloured by what the head did to it: HTML."""

from collections.abc import Iterable
from html import escape

import pandas as pd

from app import words

POSITIVE = "224, 122, 60"
NEGATIVE = "76, 123, 243"


def colored(
    frame: pd.DataFrame,
    quantity: str,
    largest: float,
    *,
    mark: int | None = None,
    lines: bool = False,
) -> str:
    """A stretch of one sequence as HTML.

    frame: rows of consecutive positions with token_text, target_text and `quantity`. The number at
    a position is about predicting the next token, so that it is the next token that it colours.
    mark: the position whose target is framed. largest: the value that gets the full colour.
    lines: whether a new line of the text begins a new line here too.
    """
    rows = frame.sort_values("position")
    first = rows.iloc[0]
    pieces = [f"<span>{_text(first['token_text'], lines)}</span>"]
    pieces += [
        _piece(
            target,
            float(value),
            largest,
            title=f"position {position}: {words.name(quantity)} {words.signed(float(value))}",
            marked=position == mark,
            lines=lines,
        )
        for position, target, value in zip(
            rows["position"], rows["target_text"], rows[quantity], strict=True
        )
    ]
    return (
        '<div style="font-family: var(--font-mono, monospace); font-size: 0.92rem; '
        'line-height: 1.75; white-space: pre-wrap; overflow-wrap: anywhere;">'
        + "".join(pieces)
        + "</div>"
    )


def legend(quantity: str, largest: float) -> str:
    """What the colours mean."""
    steps = [-1.0, -0.5, 0.0, 0.5, 1.0]
    shown = "".join(
        f'<span style="padding: 0.1rem 0.5rem; {_background(step, 1.0)}">'
        f"{words.signed(step * largest, 2)}</span>"
        for step in steps
    )
    return (
        '<div style="font-size: 0.85rem;">each token is coloured by the head\'s '
        f"<b>{escape(words.name(quantity))}</b> when it is predicted (logits): {shown} "
        '&nbsp; <span style="outline: 2px solid currentColor; padding: 0 0.25rem;">'
        "the target</span>"
        "</div>"
    )


def largest_of(values: Iterable[float]) -> float:
    """The value that gets the full colour: the 98th percentile of the absolute values."""
    absolute = pd.Series(list(values), dtype=float).abs().dropna()
    return max(float(absolute.quantile(0.98)), 1e-6) if len(absolute) else 1.0


def _piece(
    text: str, value: float, largest: float, *, title: str, marked: bool, lines: bool
) -> str:
    frame = (
        " outline: 2px solid currentColor; outline-offset: -1px; font-weight: 700;"
        if marked
        else ""
    )
    return (
        f'<span title="{escape(title)}" style="border-radius: 3px; '
        f'{_background(value, largest)}{frame}">{_text(text, lines)}</span>'
    )


def _background(value: float, largest: float) -> str:
    if value != value:
        return ""
    strength = min(1.0, abs(value) / largest)
    color = POSITIVE if value > 0 else NEGATIVE
    return f"background: rgba({color}, {0.75 * strength:.2f});"


def _text(text: str, lines: bool) -> str:
    """A token inside a line; a line's end and a tab are seen."""
    end = "↵\n" if lines else "↵"
    return escape(text).replace("\r", "␍").replace("\n", end).replace("\t", "⇥   ")

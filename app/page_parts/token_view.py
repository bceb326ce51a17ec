"""Text as it was read by the model, each token coloured by what the head did to it: HTML.

A head's quantity has one scale under an ablation, `Scale`, wherever its tokens are shown: a colour
means the same in the list as in an opened token, on every page of the list.
"""

from dataclasses import dataclass
from html import escape

import pandas as pd

from selfrepair.app.charts.run_charts import NEGATIVE, POSITIVE
from selfrepair.app.wording import words


@dataclass(frozen=True)
class Scale:
    """From no colour at 0 to the full one at `largest` and beyond, which is marked (logits).

    dark: on a dark page, where a faint tint is not seen, colour grows with the root of the value.
    """

    quantity: str
    largest: float
    dark: bool = False

    def style(self, value: float) -> str:
        """The CSS of a value: its colour, and a bar above or below it where it is beyond."""
        if value != value:
            return ""
        strength = min(1.0, abs(value) / self.largest) ** (0.5 if self.dark else 1)
        red, green, blue = (
            int((POSITIVE if value > 0 else NEGATIVE)[i : i + 2], 16) for i in (1, 3, 5)
        )
        bar = f" box-shadow: inset 0 {'' if value > 0 else '-'}2px currentColor;"
        return f"background: rgba({red}, {green}, {blue}, {0.75 * strength:.2f});" + (
            bar if self.is_beyond(value) else ""
        )

    def said(self, value: float) -> str:
        """A token's number, in words."""
        beyond = ", beyond the scale" if self.is_beyond(value) else ""
        return f": {words.name(self.quantity)} {words.signed(value)}{beyond}"

    def is_beyond(self, value: float) -> bool:
        return abs(value) > self.largest


def colored(
    frame: pd.DataFrame,
    scale: Scale | None,
    *,
    mark: int | None = None,
    lines: bool = False,
) -> str:
    """A stretch of one sequence as HTML.

    frame: rows of consecutive positions with token_text, target_text and the scale's quantity. The
    number at a position is about predicting the next token, which is the one that it colours.
    scale: None for text without colours.
    mark: the position whose target is outlined.
    lines: whether a new line of the text begins a new line here too.
    """
    rows = frame.sort_values("position")
    first = rows.iloc[0]
    pieces = [f"<span>{_text(first['token_text'], lines)}</span>"]
    pieces += [
        _piece(
            target,
            float(value),
            scale,
            title=f"position {position}" + (scale.said(float(value)) if scale else ""),
            marked=position == mark,
            lines=lines,
        )
        for position, target, value in zip(
            rows["position"],
            rows["target_text"],
            rows[scale.quantity] if scale else [0.0] * len(rows),
            strict=True,
        )
    ]
    return (
        '<div style="font-family: var(--font-mono, monospace); font-size: 0.92rem; '
        'line-height: 1.75; white-space: pre-wrap; overflow-wrap: anywhere;">'
        + "".join(pieces)
        + "</div>"
    )


def legend(scale: Scale, beyond: str) -> str:
    """What the colours mean. beyond: how much of the text is beyond the scale, in words."""
    steps = [-1.0, -0.5, 0.0, 0.5, 1.0]
    shown = "".join(
        f'<span style="padding: 0.1rem 0.5rem; {scale.style(step * scale.largest)}">'
        f"{words.signed(step * scale.largest, 2)}</span>"
        for step in steps
    )
    more, less = (
        f'<span style="padding: 0.1rem 0.4rem; {scale.style(sign * 2 * scale.largest)}">'
        f"{word}</span>"
        for sign, word in ((1, "above"), (-1, "below"))
    )
    return (
        '<div style="font-size: 0.85rem;">each token is coloured by the head\'s '
        f"<b>{escape(words.name(scale.quantity))}</b> when it is predicted (logits): {shown} "
        f"&nbsp; beyond the scale, {escape(beyond)}: {more} {less} "
        '&nbsp; <span style="outline: 2px solid currentColor; padding: 0 0.25rem;">'
        "the target</span>"
        "</div>"
    )


def _piece(
    text: str, value: float, scale: Scale | None, *, title: str, marked: bool, lines: bool
) -> str:
    outline = (
        " outline: 2px solid currentColor; outline-offset: -1px; font-weight: 700;"
        if marked
        else ""
    )
    return (
        f'<span title="{escape(title)}" style="border-radius: 3px; '
        f'{scale.style(value) if scale else ""}{outline}">{_text(text, lines)}</span>'
    )


def _text(text: str, lines: bool) -> str:
    """A token inside a line; a line's end and a tab are seen."""
    end = "↵\n" if lines else "↵"
    return escape(text).replace("\r", "␍").replace("\n", end).replace("\t", "⇥   ")

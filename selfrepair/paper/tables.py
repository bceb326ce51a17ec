"""Rows as a LaTeX table, with the rules of the package booktabs."""

import math
from typing import Any

import pandas as pd

from selfrepair.app.wording import words

NO_NUMBER = "--"


def latex(frame: pd.DataFrame, *, caption: str = "", label: str = "", digits: int = 3) -> str:
    r"""The table, for a document that says `\usepackage{booktabs}`.

    A column and its standard error (`x` and `x_se`) are one, `$0.62 \pm 0.03$`, with as many digits
    as the error makes sense of; shares are in per cent; other numbers have `digits` significant
    digits. Of an answer of the library, comments above say which SQL and which generation it is of.
    """
    errors = {column: f"{column}_se" for column in frame if f"{column}_se" in frame}
    shown = pd.DataFrame(
        {
            _escaped(words.name(str(column))): [
                _cell(column, value, error, digits)
                for value, error in zip(
                    frame[column],
                    frame[errors[column]] if column in errors else [None] * len(frame),
                    strict=True,
                )
            ]
            for column in frame
            if column not in errors.values()
        }
    )
    sides = [
        "r" if frame[column].dtype.kind in "iuf" else "l"
        for column in frame
        if column not in errors.values()
    ]
    table = shown.style.hide(axis="index").to_latex(
        hrules=True,
        column_format="".join(sides),
        caption=_escaped(caption) or None,
        label=label or None,
        position_float="centering" if caption or label else None,
    )
    return _said(frame.attrs) + table


def _said(attrs: dict[str, Any]) -> str:
    """Where the rows are from, as comments."""
    if "sql" not in attrs:
        return ""
    lines = [f"generation {attrs['generation']} of the warehouse", *attrs["sql"].splitlines()]
    return "".join(f"% {line}\n" for line in lines)


def _cell(column: Any, value: Any, error: float | None, digits: int) -> str:
    """A value as it is read, escaped; with its error where it has one."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return NO_NUMBER if value is None or value is pd.NA else _escaped(str(value))
    if math.isnan(value):
        return NO_NUMBER
    if isinstance(value, int):
        return f"{value:,}".replace(",", "{,}")
    percent = 100 if str(column).startswith("share") else 1
    value = percent * value
    unit = r"\,\%" if percent == 100 else ""
    if error is None or not math.isfinite(error) or error == 0:
        text = words.number(value, digits).replace("−", "-").replace(",", "{,}")
        return f"${text}${unit}"
    error = percent * error
    places = max(0, 1 - math.floor(math.log10(error)))  # two significant digits of the error
    return rf"${value:.{places}f} \pm {error:.{places}f}${unit}"


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "±": r"$\pm$",
    "−": "$-$",
    "↵": r"$\hookleftarrow$",
    "\n": r"$\hookleftarrow$",
    "\r": r"$\hookleftarrow$",
    "␣": r"\textvisiblespace{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def _escaped(text: str) -> str:
    """Text as LaTeX sets it, whatever it holds."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)

"""How columns, units, heads and numbers are written, so that all pages say the same."""

import math
import re
from collections.abc import Mapping
from typing import Any

# Only where replacing "_" by " " is not what one would write.
NAMES = {
    "self_repair_from_last_mlp": "self-repair from the last MLP",
    "self_repair_from_post_norm": "self-repair from the post-norm",
    "self_repair_from_layernorm": "self-repair from LayerNorm",
    "layernorm_ratio": "LayerNorm ratio",
    "layernorm_fraction": "LayerNorm fraction",
    "layernorm_fraction_clipped": "LayerNorm fraction (clipped)",
    "layernorm_fraction_unclipped": "LayerNorm fraction (unclipped)",
    "layernorm_fraction_of_means": "LayerNorm fraction of the means",
    "heads_fraction_clipped": "heads fraction (clipped)",
    "mlps_fraction_clipped": "MLPs fraction (clipped)",
    "share_layernorm_ratio_above_one": "share with LayerNorm ratio above 1",
    "n_rows": "rows",
    "n_layers": "layers",
    "n_heads": "heads",
    "n_tokens": "tokens",
    "n_sequences": "sequences",
    "n_sequences_measured": "sequences measured",
    "n_clusters": "clusters",
    "d_mlp": "neurons per MLP layer",
    "run_id": "run",
    "self_repair_sd": "self-repair, standard deviation",
    "share_removed": "share of the direct effect removed",
    "share_hidden": "share hidden of what was removed",
    "heads_fraction_of_means": "heads fraction of the means",
    "mlps_fraction_of_means": "MLPs fraction of the means",
    "share_overcorrected": "share of tokens overcorrected",
    "share_broken": "share of tokens broken",
}


def name(column: str) -> str:
    """`self_repair_from_mlps` -> "self-repair from MLPs"; `_se` is ±, `_all` all rows."""
    if column in NAMES:
        return NAMES[column]
    if column.endswith("_se"):
        return f"± {name(column.removesuffix('_se'))}"
    if column.endswith("_all"):
        return f"{name(column.removesuffix('_all'))}, all rows"
    return column.replace("_", " ").replace("self repair", "self-repair").replace("mlp", "MLP")


def so_far(run: Mapping[Any, Any]) -> str:
    """`3 of 16 sequences measured so far`; "" of a run that is measured to the end.

    run: its row of `runs`, which in a file of an older version lacks some columns.
    """
    measured, of = run.get("n_sequences_measured"), run["n_sequences"]
    if measured is None or math.isnan(measured) or int(measured) == of:
        return ""
    stopped_by = run.get("stopped_by")
    ended = f", stopped by {stopped_by}" if isinstance(stopped_by, str) else " so far"
    return f"{int(measured):,} of {of:,} sequences measured{ended}"


def is_ended(run: Mapping[Any, Any]) -> bool:
    """Whether no more of a run is to be measured: it is whole, or was stopped."""
    return not so_far(run) or isinstance(run.get("stopped_by"), str)


def unit(meaning: str) -> str:
    """The unit that ends a column's documentation: "... (logits)" -> "logits"; "" for none."""
    found = re.search(r"\((logits|1|residual units)\)$", meaning.strip())
    return "" if found is None or found[1] == "1" else found[1]


def axis(column: str, meaning: str = "", suffix: str = "") -> str:
    """An axis title: the column's name with its unit."""
    named = unit(meaning)
    return f"{name(column)}{suffix} ({named})" if named else f"{name(column)}{suffix}"


def head(layer: int, number: int) -> str:
    """L10H11."""
    return f"L{int(layer)}H{int(number)}"


def layer_and_head(text: str) -> tuple[int, int] | None:
    """L10H11 -> (10, 11); None for anything else."""
    found = re.fullmatch(r"L(\d{1,4})H(\d{1,4})", text)
    return (int(found[1]), int(found[2])) if found else None


def figure(named: str) -> str:
    """A figure's name in `figures` as a title has it: `4` -> "Figure 4", `appendix E`."""
    return f"Figure {named}" if named[0].isdigit() else named[0].upper() + named[1:]


def rows(choice: str) -> str:
    """A choice of rows inside a sentence: "all tokens", "top rows by direct effect"."""
    return choice.replace("top by", "top rows by")


def bullets(lines: str) -> str:
    """Lines of text as a list in Markdown."""
    return "".join(f"\n- {line}" for line in lines.splitlines())


def number(value: float | int | None, digits: int = 3) -> str:
    """A number with that many significant digits, and a true minus sign."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞"
    magnitude = math.floor(math.log10(abs(value)))
    text = (
        f"{value:,.{max(0, digits - 1 - magnitude)}f}"
        if magnitude >= -4
        else f"{value:.{digits - 1}e}"
    )
    return text.replace("-", "−")


def signed(value: float | None, digits: int = 3) -> str:
    """The same with a plus before what is positive."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 else text


def share(value: float | None) -> str:
    """0.3412 -> "34 %", 0.0123 -> "1.2 %"."""
    if value is None or math.isnan(value):
        return "–"
    text = f"{100 * value:,.{0 if abs(value) >= 0.1 else 1}f}".removesuffix(".0")
    return f"{text} %".replace("-", "−")


def share_with_error(value: float | None, error: float | None) -> str:
    """0.108, 0.0086 -> "10.8 ± 0.9 %": as many digits as the error makes sense of."""
    if value is None or math.isnan(value):
        return "–"
    if error is None or not math.isfinite(error):
        return share(value)
    digits = 0 if error >= 0.02 else 1 if error >= 0.002 else 2
    text = f"{100 * value:,.{digits}f} ± {100 * error:,.{digits}f} %"
    return text.replace("-", "−")


def count(value: int) -> str:
    """144500000 -> "144.5 M"."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if value >= 10 * size or (size == 1_000_000 and value >= size):
            return f"{value / size:.1f}".removesuffix(".0") + f" {letter}"
    return f"{value:,}"


def token(text: str) -> str:
    """A token as it is shown in one line: space as ␣ at its ends, newline as ↵."""
    shown = text.replace("\n", "↵").replace("\t", "⇥").replace("\r", "␍")
    if shown.strip(" ") == "":
        return "␣" * len(shown)
    lead = len(shown) - len(shown.lstrip(" "))
    return "␣" * lead + shown[lead:]

"""A run's headline numbers: the same on the overview, the Model page and in the report.

Each is a ratio of means or a count of heads with what it is over; the paper's own number stands
beside it under its own name.
"""

from dataclasses import dataclass

import pandas as pd

from selfrepair.app.questions import kind_questions
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import glossary, kinds, words
from selfrepair.app.wording.kinds import Clusters


@dataclass(frozen=True)
class Tile:
    """A number: what it is called, how it is written, and what is said below it."""

    label: str
    value: str
    note: str
    help: str = ""


@dataclass(frozen=True)
class Headline:
    """The tiles of a run under one ablation, on each head's top rows."""

    tiles: list[Tile]
    among: Clusters
    numbers: pd.Series


def headline(subject: Subject) -> Headline:
    """The run's numbers under the subject's ablation; under the run's first where it has none."""
    rows = kind_questions.headline(subject).frame
    own = rows[rows["ablation"] == subject.ablation] if subject.ablation else rows
    numbers = own.iloc[0]
    among = kinds.clusters(subject)
    return Headline(tiles(numbers, among), among, numbers)


def is_labelled(numbers: pd.Series) -> bool:
    """Whether the run's heads are labelled: neither too few clusters nor too few top rows."""
    return bool(pd.notna(numbers["n_repaired"]))


def tiles(numbers: pd.Series, among: Clusters) -> list[Tile]:
    """Self-repair, LayerNorm's part in it, and the heads that are overcorrected or broken."""
    n = int(numbers["n_heads_measured"])
    where = "on each head's top rows"
    why = among.too_few or "too few top rows for a label"
    known = is_labelled(numbers)
    counted = int(numbers["n_heads_counted"]) if known else 0
    over = f"over the {counted} of {n} heads that do something and are at least half removed"
    clipped = words.share(numbers["mean_layernorm_fraction_clipped"])

    def part(column: str, said: str) -> tuple[str, str]:
        if not known or pd.isna(numbers[column]):
            return "–", why if not known else f"no head of {n} counts"
        return words.share_with_error(numbers[column], numbers[f"{column}_se"]), f"{said}, {over}"

    def heads(kind: str) -> tuple[str, str]:
        if not known:
            return "–", f"{why}. "
        return f"{int(numbers[f'n_{kind}'])} of {n}", f"surely so, {among.level(n)}. "

    repaired, repaired_note = part("share_repaired", "of what is removed")
    norm, norm_note = part("share_from_layernorm", "of what is removed")
    level = f"Ratios of sums over heads, {where}; ± is a standard error by {among.by}."
    shown = [
        Tile(
            "self-repair",
            repaired,
            f"{repaired_note}. Mean over all {n} heads: "
            f"{words.signed(numbers['mean_self_repair'])} logits",
            glossary.explained("self_repair", "direct_effect_removed") + f"\n\n{level}",
        ),
        Tile(
            "repaired by LayerNorm",
            norm,
            f"{norm_note}. The paper's clipped fraction: {clipped}, over all {n} heads",
            glossary.explained("clipped") + f"\n\n{level} The paper's clipped fraction is of the "
            "direct effect; it finds about 30 %.",
        ),
    ]
    for kind in ("overcorrected", "broken"):
        value, said = heads(kind)
        tokens = words.share(numbers[f"mean_share_{kind}"])
        shown.append(
            Tile(
                f"heads {kind}",
                value,
                f"{said}Single tokens {kind}: {tokens}, averaged over heads",
                glossary.explained(kind)
                + f"\n\nHeads by their means {where}, tokens one by one: noise alone makes many "
                "tokens so.",
            )
        )
    return shown


def all_kinds(numbers: pd.Series, among: Clusters) -> str:
    """How many heads are of each kind, in one line."""
    if not is_labelled(numbers):
        return f"Heads are {among.why_no_label or kinds.TOO_FEW_ROWS}."
    names = ("repaired", "overcorrected", "broken", "neither", "not_removed", "no_effect")
    said = " · ".join(f"{int(numbers[f'n_{name}'])} {name.replace('_', ' ')}" for name in names)
    n = int(numbers["n_heads_measured"])
    return f"Of {n} heads on their top rows: {said} ({among.level(n)})."

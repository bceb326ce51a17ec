"""What is said of heads by their kind: how many, of how many, how sure; and why where nothing is.

The kinds are those of `head_kinds`. A head's self-repair says little where its ablation left most
of the head in place; whoever shows it says so with `little_removed`.
"""

import math
from dataclasses import dataclass, replace

import pandas as pd

from selfrepair.app.questions import kind_questions, run_questions
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import words

FEWEST = 10  # clusters that a label needs
HALF = 0.5  # share_removed below which a head is not removed
TOO_FEW_ROWS = "not labelled: there are too few top rows"
LITTLE = "less than half removed"  # of a head, wherever its self-repair is shown
COLORS = {
    "repaired": "green",
    "overcorrected": "orange",
    "broken": "red",
    "not removed": "orange",
    "no effect": "gray",
    "neither": "gray",
}  # of a badge


@dataclass(frozen=True)
class Clusters:
    """What a run's errors are clustered by, and which text it measured."""

    by: str
    n: int
    n_documents: int
    n_sequences: int
    so_far: str = ""
    sample: str | None = None
    drawn_from: str | None = None

    def __str__(self) -> str:
        return f"{self.n:,} {self.by}" + ("" if self.n == 1 else "s")

    @property
    def errors(self) -> str:
        return f"errors clustered by {self.by} ({self.n:,})"

    @property
    def text(self) -> str:
        """The run's text: how much of it, and what it was drawn from."""
        n = f"{self.n_sequences:,} sequence" + ("" if self.n_sequences == 1 else "s")
        documents = f"{self.n_documents:,} document" + ("" if self.n_documents == 1 else "s")
        said = f"{n} of {documents}" if self.n_documents else f"{n} of unknown documents"
        said += f" ({self.so_far})" if self.so_far else ""
        if not self.drawn_from:
            return said
        how = "a random sample of " if self.sample == "random" else "the head of the corpus: "
        return f"{said}, {how}{self.drawn_from}"

    @property
    def why_no_label(self) -> str:
        """Why no head is labelled; "" where they are."""
        if self.n >= FEWEST:
            return ""
        return (
            f"not labelled: the text is {self} and a yes or no needs {FEWEST} of them or more, "
            "since fewer say too little about other text"
        )

    @property
    def too_few(self) -> str:
        """The same in a few words, for a tile; "" where heads are labelled."""
        return f"only {self}; a label needs {FEWEST}" if self.n < FEWEST else ""

    def level(self, n_heads: int) -> str:
        """How sure the labels are."""
        return f"at 5 %, corrected for {n_heads:,} heads, over {self}"


def clusters(subject: Subject) -> Clusters:
    """What the errors of a run are clustered by."""
    found = _clusters(kind_questions.clusters(subject).frame)
    runs = run_questions.runs(subject.generation).frame.set_index("run_id")
    if subject.run not in runs.index:
        return found
    return replace(found, so_far=words.so_far(runs.loc[subject.run].to_dict()))


def reinforcement_clusters(subject: Subject) -> Clusters:
    """What those of its self-reinforcement are clustered by."""
    return _clusters(kind_questions.reinforcement_clusters(subject).frame)


def _clusters(frame: pd.DataFrame) -> Clusters:
    if frame.empty:
        return Clusters("sequence", 0, 0, 0)
    row = frame.iloc[0]
    said = {name: row[name] for name in ("sample", "drawn_from") if isinstance(row.get(name), str)}
    return Clusters(
        str(row["clustered_by"]),
        int(row["n_clusters"]),
        int(row["n_documents"]),
        int(row["n_sequences"]),
        **said,
    )


def is_little(share_removed: float | None) -> bool:
    """Whether an ablation left more than half of a head's direct effect in place."""
    return share_removed is not None and not math.isnan(share_removed) and share_removed < HALF


def little_removed(share_removed: float | None) -> str:
    """What is said beside a head's self-repair where little was removed; else ""."""
    if not is_little(share_removed):
        return ""
    return f"{LITTLE} ({words.share(share_removed)})"


def badge(kind: object, share_removed: float | None, why_no_label: str) -> str:
    """A head's kind as Markdown badges, with what was removed where that is little."""
    if isinstance(kind, str):
        said = f":{COLORS[kind]}-badge[{kind}]"
    else:
        said = f":gray-badge[{(why_no_label or TOO_FEW_ROWS).partition(':')[0]}]"
    if is_little(share_removed):
        said += f" :orange-badge[{little_removed(share_removed)}]"
    return said


def kept(rows: pd.DataFrame, choice: str, suffix: str = "") -> pd.DataFrame:
    """The heads of a choice of `run_questions.KEPT_HEADS`.

    suffix: "_all" for their kinds and shares over all rows.
    """
    little = rows[f"share_removed{suffix}"].map(is_little).astype(bool)
    match choice:
        case "all":
            return rows
        case "less than half removed":
            return rows[little]
        case "at least half removed":
            return rows[~little]
        case _:
            return rows[rows[f"kind{suffix}"] == choice]


def zone(rows: pd.DataFrame, among: Clusters) -> str:
    """Below Fig. 2: how many heads are surely repaired, and how many merely lie in the zone.

    rows: of `run_questions.effects`, all heads.
    """
    n = len(rows)
    inside = rows[rows["self_repaired"].astype(bool)]
    little = int(inside["share_removed"].map(is_little).sum())
    lie = (
        f"{len(inside)} of {n} heads lie in the paper's zone: the logit falls by less than the "
        "direct effect"
    )
    if little:
        lie += (
            f". Of {little} of these the ablation removed less than half, so that the zone does "
            "not show that they are repaired"
        )
    if rows["share_removed"].map(is_little).any():
        lie += ". Hollow: the ablation removed less than half of the head's direct effect"
    if rows["kind"].isna().all():
        return f"{lie}. Which heads surely are repaired is {among.why_no_label or 'not known'}."
    repaired = int((rows["kind"] == "repaired").sum())
    over = int((rows["kind"] == "overcorrected").sum())
    beyond = f"; {over} more overcorrected: the logit changes the other way" if over else ""
    return (
        f"Over all tokens {repaired} of {n} heads are surely repaired: the logit loses less than "
        f"was removed, and at least half was removed{beyond} ({among.level(n)}). {lie}."
    )

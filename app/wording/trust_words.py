"""What is said of heads that an ablation misplaces: why, and of how many."""

import pandas as pd

from selfrepair.app.wording.kinds import Clusters

# Why a head's place by ablation surely differs from that by direct effect, as ablation_trust has
# it, and what each means.
WHY = {
    "not removed": "more than half of the direct effect is left in place",
    "repaired": "it is removed, and what is downstream makes up for it",
    "indirect": "the logit changes by more than the direct effect does",
}


def counts(numbers: pd.Series) -> str:
    """How many heads are misplaced for which reason; numbers: of ablation_trust_by_run."""
    columns = {why: f"n_{why.replace(' ', '_')}" for why in WHY}
    known = numbers.fillna(0)
    return " · ".join(f"{int(known[column])} {why}" for why, column in columns.items())


def said_of_places(rows: pd.DataFrame, among: Clusters) -> str:
    """Below the chart of places: which side is which, how many heads are misplaced and why."""
    sides = "Below the line the ablation overrates a head, above it underrates it."
    n = len(rows)
    if rows["ranks_differ"].isna().all():
        return (
            f"{sides} Which of the {n} heads it surely misplaces is "
            f"{among.why_no_label or 'not known'}."
        )
    found = rows["misplaced"].value_counts()
    said = "; ".join(f"{int(found.get(why, 0))} {why} ({meaning})" for why, meaning in WHY.items())
    return (
        f"{sides} Surely misplaced are {int(found.sum())} of {n} heads (at 5 %, corrected for "
        f"their number, over {among}): {said}."
    )

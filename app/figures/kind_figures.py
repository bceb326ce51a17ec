"""What becomes of what is removed, as figures with their rows and words."""

from selfrepair.app.charts import kind_charts
from selfrepair.app.figures.drawn import Drawn, Look
from selfrepair.app.questions import kind_questions
from selfrepair.app.questions.queries import Serving
from selfrepair.app.wording import kinds


def what_is_repaired(serving: Serving, figure: str, look: Look) -> Drawn:
    """Beyond the paper: of each head."""
    answer = kind_questions.kinds(serving, look.run, look.ablation)
    among, n = kinds.clusters(serving, look.run), len(answer.frame)
    known = answer.frame["kind"].notna().any()
    said = f"labelled {among.level(n)}" if known else among.why_no_label or kinds.TOO_FEW_ROWS
    return Drawn(
        kind_charts.by_head(answer.frame),
        answer,
        f"Means over each head's top rows. Heads are {said}. Not removed: the ablation removes "
        "less than half of the direct effect.",
    )


def what_is_repaired_by_run(serving: Serving, figure: str, look: Look) -> Drawn:
    """Beyond the paper: of the run."""
    answer = kind_questions.repair(serving, look.run)
    among = kinds.clusters(serving, look.run)
    over = ", ".join(
        f"{row.ablation} {row.n_heads_counted} of {row.n_heads}"
        for row in answer.frame.itertuples()
    )
    said = (
        f"Nothing is drawn: heads are {among.why_no_label or kinds.TOO_FEW_ROWS}."
        if answer.frame["n_repaired"].isna().all()
        else f"Over the heads that do something and are at least half removed: {over}."
    )
    return Drawn(
        kind_charts.by_run(answer.frame),
        answer,
        f"Ratios of sums over each head's top rows, with standard errors; {among.errors}. {said}",
    )

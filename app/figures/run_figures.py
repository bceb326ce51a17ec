"""The figures of all heads of a run, or of several runs."""

from collections.abc import Sequence
from functools import partial

from selfrepair.app.charts import (
    effect_charts,
    kind_charts,
    reinforcement_charts,
    repair_charts,
    run_charts,
    training_charts,
    trust_charts,
)
from selfrepair.app.figures.figure import Drawn, Figure
from selfrepair.app.questions import (
    detail_questions,
    kind_questions,
    queries,
    run_questions,
    trust_questions,
)
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import kinds, trust_words, words


def by_depth(
    subject: Subject, *, view: str, quantity: str, says: str, runs: Sequence[str] = ()
) -> Drawn:
    """Fig. 1, 6, 10 and 11: a dot per head and a line per run.

    says: what the quantity is. runs: those that are drawn, by default the subject's.
    """
    unclipped = quantity.endswith("unclipped")
    answer = run_questions.by_depth(
        subject, view, quantity, list(runs) or [subject.run], over_all=unclipped
    )
    rows = answer.frame
    caption = (
        f"{says} A dot is a head, a line the mean of a layer's heads, a bar its standard error "
        "(clustered by document where a run's text is of ten or more, else by sequence). Hollow: "
        "the ablation removed less than half of the head's direct effect, so that its self-repair "
        "says little."
    )
    y_range = None
    if unclipped and len(rows):
        low, high = rows[quantity].quantile([0.02, 0.98])
        room = 0.1 * max(high - low, 1e-6)
        y_range = (float(low - room), float(high + room))
        out = int((~rows[quantity].between(*y_range)).sum())
        caption += f" {out} heads lie outside the drawn range; double-click to see them."
    if len(rows) == queries.MOST_MARKS:
        caption += f" A sample of {queries.MOST_MARKS:,} heads is drawn."
    y = words.axis(quantity, queries.meaning(subject.generation, quantity))
    return Drawn(run_charts.by_depth(rows, quantity, y, y_range), answer, caption)


def over_training(subject: Subject, *, quantity: str, says: str) -> Drawn:
    """Beyond the paper: Fig. 1, 6 and 11 over the training of the subject's run."""
    answer = run_questions.over_training(subject, quantity)
    rows = answer.frame
    y = words.axis(quantity, queries.meaning(subject.generation, quantity))
    name = str(rows["series"].iloc[0]).rpartition("/")[2] if len(rows) else ""
    series = f"{name}, {rows['step'].nunique()} steps. " if len(rows) else ""
    return Drawn(
        training_charts.over_training(rows, quantity, y),
        answer,
        f"{series}{says} A line is the mean of a layer's heads, a bar its standard error; steps "
        "are evenly spaced.",
    )


def effects(
    subject: Subject, *, across: str = "direct_effect", kept: str = "all", same_height: bool = False
) -> Drawn:
    """Fig. 2 and 20-22.

    across: the x-axis, `direct_effect` (the paper's) or `direct_effect_removed`. kept: which heads
    are drawn, of `kinds.kept`. same_height: as a map of as many layers, to stand beside one.
    """
    answer = run_questions.effects(subject)
    rows = kinds.kept(answer.frame, kept)
    unit = queries.meaning(subject.generation, "direct_effect")
    return Drawn(
        effect_charts.effects(
            rows,
            words.axis(across, unit, ", mean over all tokens"),
            words.axis("logit_change", unit, ", mean over all tokens"),
            run_charts.map_height(rows["layer"].nunique()) if same_height else 480,
            across,
        ),
        answer,
        kinds.zone(answer.frame, kinds.clusters(subject)),
        "" if across == "direct_effect" else "What was removed against logit change, per head",
    )


def ranks(subject: Subject, *, rows: str = "all tokens") -> Drawn:
    """Section 5.1. rows: which ones the means are over, of `ROW_SETS`."""
    answer = trust_questions.trust(subject, run_questions.ROW_SETS[rows])
    places = trust_words.said_of_places(answer.frame, kinds.clusters(subject))
    return Drawn(
        trust_charts.ranks(answer.frame), answer, f"Means over {words.rows(rows)}. {places}"
    )


def self_reinforcing_heads(subject: Subject) -> Drawn:
    """Section 5.3."""
    answer = detail_questions.reinforcing_heads(subject)
    among, n = kinds.reinforcement_clusters(subject), len(answer.frame)
    counts = answer.frame["kind"].value_counts()
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    labels = among.why_no_label or f"{said} ({among.level(n)})"
    return Drawn(
        reinforcement_charts.slopes(answer.frame),
        answer,
        "The share of its direct effect that a head gains per time its own output is added, with "
        f"two standard errors; {among.errors}. Of {n} heads: {labels}.",
    )


def who_repairs_whom(
    subject: Subject,
    *,
    dark: bool = False,
    left_out: int = 0,
    most_heads: int = detail_questions.MOST_HEADS,
    most_components: int = detail_questions.MOST_COMPONENTS,
    link: repair_charts.Link | None = None,
) -> Drawn:
    """Beyond the paper. left_out: how many first positions of every sequence do not count."""
    answer = detail_questions.who_repairs_whom(
        subject, left_out, most_heads=most_heads, most_components=most_components
    )
    return Drawn(
        repair_charts.who_repairs_whom(answer.frame, dark=dark, link=link),
        answer,
        "Mean change in the component's direct effect on the ablated head's top rows: the "
        f"{most_heads} most self-repaired heads, and the {most_components} components whose part "
        "beyond noise is largest. "
        f"{repair_charts.CAPTION}",
    )


def what_is_repaired(subject: Subject) -> Drawn:
    """Beyond the paper: what becomes of what is removed of each head."""
    answer = kind_questions.kinds(subject)
    among, n = kinds.clusters(subject), len(answer.frame)
    known = answer.frame["kind"].notna().any()
    said = f"labelled {among.level(n)}" if known else among.why_no_label or kinds.TOO_FEW_ROWS
    return Drawn(
        kind_charts.by_head(answer.frame),
        answer,
        f"Means over each head's top rows. Heads are {said}. Not removed: the ablation removes "
        "less than half of the direct effect.",
    )


def what_is_repaired_by_run(subject: Subject) -> Drawn:
    """Beyond the paper: what becomes of what is removed of the run."""
    answer = kind_questions.repair(subject)
    among = kinds.clusters(subject)
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


def _over_depth(view: str, quantity: str, says: str) -> Figure:
    draw = partial(by_depth, view=view, quantity=quantity, says=says)
    return Figure(draw, (quantity, f"layer_{quantity}", "depth"), view, choices=("runs",))


def _over_training(view: str, quantity: str, says: str) -> Figure:
    draw = partial(over_training, quantity=quantity, says=says)
    return Figure(draw, (quantity, "step"), "layers_over_training")


# The view, the quantity, and what it is.
_QUANTITIES = {
    "1": ("self_repair_by_head", "self_repair", "Self-repair of each head on its top rows."),
    "6": (
        "layernorm_repair_by_head",
        "self_repair_from_layernorm",
        "The part of self-repair that the final norm does, on each head's top rows.",
    ),
    "11": (
        "layernorm_fraction_by_head",
        "layernorm_fraction_clipped",
        "The final norm's part as a share of the direct effect, per token cut to 0…1.",
    ),
    "10": (
        "layernorm_fraction_unclipped_by_head",
        "layernorm_fraction_unclipped",
        "The same share without the cut and over all rows. A warning rather than a measurement: "
        "direct effects near zero make the ratio explode, so that a few rows decide its mean.",
    ),
}
BY_DEPTH = {name: _over_depth(*told) for name, told in _QUANTITIES.items()}
OVER_TRAINING = {
    f"{name}, over training": _over_training(*_QUANTITIES[name]) for name in ("1", "6", "11")
}
POST_NORM = _over_depth(
    "post_norm_repair_by_head",
    "self_repair_from_post_norm",
    "The part of self-repair that the norm behind the head's own attention layer does, on each "
    "head's top rows; beside the final norm's part, figure 6.",
)
FIGURES = {
    **BY_DEPTH,
    **OVER_TRAINING,
    "post-norm": POST_NORM,
    **dict.fromkeys(
        ("2", "20", "21", "22"),
        Figure(
            effects,
            ("direct_effect", "direct_effect_removed", "logit_change"),
            choices=("across", "kept"),
        ),
    ),
    "section 5.1": Figure(
        ranks,
        (
            *("rank_by_direct_effect", "rank_by_ablation", "ranks_differ", "misplaced"),
            *("share_removed", "share_hidden"),
        ),
        "ablation_trust",
        choices=("rows",),
    ),
    "section 5.3": Figure(
        self_reinforcing_heads, ("relative_slope", "kind"), "self_reinforcing_heads"
    ),
    "who repairs whom": Figure(
        who_repairs_whom,
        ("direct_effect_change", "direct_effect_change_trimmed"),
        "component_repair_means",
        follows_theme=True,
        choices=("left_out", "most_heads", "most_components"),
        in_column={"most_heads": 20, "most_components": 24},
    ),
    "what is repaired": Figure(
        what_is_repaired, ("direct_effect_removed", "share_removed", "kind"), "head_kinds"
    ),
    "what is repaired, by run": Figure(
        what_is_repaired_by_run,
        ("share_repaired", "share_from_layernorm", "share_from_post_norm"),
        "run_repair",
    ),
}

"""The figures of one head's rows: its tokens, its norm, its positions, its own output read."""

from functools import partial

from selfrepair.app.charts import position_charts, reinforcement_charts, token_charts
from selfrepair.app.figures.figure import Drawn, Figure
from selfrepair.app.questions import detail_questions, head_questions
from selfrepair.app.questions.run_questions import ROW_SETS
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import kinds, words


def token_scatter(subject: Subject, *, every_ablation: bool) -> Drawn:
    """Fig. 3 (one ablation) and 5 (all that were measured)."""
    answer = head_questions.sampled_tokens(subject)
    measured = list(dict.fromkeys(answer.frame["ablation"]))
    return Drawn(
        token_charts.scatter(answer.frame, measured if every_ablation else [subject.ablation]),
        answer,
        f"{subject.head_name}; at most {head_questions.SAMPLE:,} sampled tokens per ablation, the "
        f"same ones under each. Measured: {', '.join(measured)}. In the shaded zone the logit "
        "falls by less than the direct effect, whether or not that was removed.",
    )


def layernorm_ratio(subject: Subject) -> Drawn:
    """Fig. 4, 17 and 18."""
    answer = head_questions.histogram(subject, "layernorm_ratio_histogram")
    above = answer.frame.drop_duplicates("ablation")
    shares = ", ".join(
        f"{row.ablation} {words.share(row.share_above_one)}" for row in above.itertuples()
    )
    return Drawn(
        token_charts.histogram(answer.frame, x="ln_scale / ln_scale_ablated", line_at=1),
        answer,
        f"{subject.head_name}, top rows. Share above 1, where the norm amplifies what is left: "
        f"{shares}.",
    )


def residual_norm(subject: Subject) -> Drawn:
    """Fig. 16."""
    answer = head_questions.histogram(subject, "residual_norm_histogram")
    return Drawn(
        token_charts.histogram(answer.frame, x="ln_scale_ablated / ln_scale", line_at=1),
        answer,
        f"{subject.head_name}, all rows. Below 1, ablation has made the final residual smaller.",
    )


def per_token(subject: Subject, *, rows: str = "all tokens") -> Drawn:
    """Section 2.3: the spread over tokens. rows: which ones, of `ROW_SETS`."""
    answer = head_questions.per_token(subject, rows)
    return Drawn(
        token_charts.histogram(
            answer.frame, x="self-repair (logits)", line_at=0, y="share of tokens"
        ),
        answer,
        f"{subject.head_name}, {words.rows(rows)}. What lies beyond the outer 0.1 % is "
        "counted in the outermost bins.",
    )


def per_sequence(subject: Subject, *, rows: str = "all tokens") -> Drawn:
    """Section 2.3: the spread over sequences. rows: which ones are averaged, of `ROW_SETS`."""
    answer = head_questions.per_sequence(subject, ROW_SETS[rows])
    return Drawn(
        token_charts.histogram(
            answer.frame, x="self-repair (logits)", line_at=0, y="share of sequences"
        ),
        answer,
        f"{subject.head_name}, {words.rows(rows)}: the mean of each sequence. A prompt is a "
        "sequence of the run.",
    )


def by_position(subject: Subject) -> Drawn:
    """Beyond the paper."""
    answer = head_questions.by_position(subject)
    errors = kinds.clusters(subject).errors
    return Drawn(
        position_charts.by_position(answer.frame),
        answer,
        f"{subject.head_name}, {subject.ablation} ablation: means over all tokens at "
        f"a position with their standard errors; {errors}; bins beyond position 7. "
        "Below: how many of all rows and of the top rows by direct effect are there.",
    )


def self_reinforcement(subject: Subject, *, every_scale: bool) -> Drawn:
    """Fig. 9 (scale 3, or the one measured that is nearest) and 19 (all)."""
    answer = detail_questions.reinforcement(subject)
    scales = sorted(float(scale) for scale in answer.frame["scale"].unique())
    if not every_scale:
        scales = sorted(scales, key=lambda scale: abs(scale - 3))[:1]
    return Drawn(
        reinforcement_charts.before_and_after(answer.frame, scales),
        answer,
        f"{subject.head_name}; a sample of positions, the same at each scale. Nearer to 0 than "
        "the line: the head represses itself.",
    )


_SCATTER = ("direct_effect", "logit_change", "self_repair")
_RATIO = Figure(layernorm_ratio, ("layernorm_ratio", "ln_scale", "ln_scale_ablated"), of_head=True)


def _reinforcement(every_scale: bool) -> Figure:
    return Figure(
        partial(self_reinforcement, every_scale=every_scale),
        ("direct_effect", "direct_effect_after", "scale"),
        "self_reinforcement",
        of_head=True,
        heads=detail_questions.reinforcing_heads,
    )


FIGURES = {
    "3": Figure(partial(token_scatter, every_ablation=False), _SCATTER, of_head=True),
    "5": Figure(partial(token_scatter, every_ablation=True), _SCATTER, of_head=True),
    **dict.fromkeys(("4", "17", "18"), _RATIO),
    "16": Figure(residual_norm, ("ln_scale", "ln_scale_ablated"), of_head=True),
    "section 2.3": Figure(per_token, ("self_repair",), of_head=True, choices=("rows",)),
    "section 2.3, per prompt": Figure(
        per_sequence, ("self_repair",), "self_repair_by_sequence", of_head=True, choices=("rows",)
    ),
    "9": _reinforcement(every_scale=False),
    "19": _reinforcement(every_scale=True),
    "positions": Figure(
        by_position, tuple(position_charts.QUANTITIES), "effects_by_position", of_head=True
    ),
}

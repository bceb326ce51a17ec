"""The figures of the last MLP layer's neurons, each of one ablated head."""

from selfrepair.app.charts import neuron_charts, token_charts
from selfrepair.app.figures.figure import Drawn, Figure
from selfrepair.app.questions import detail_questions, neuron_questions
from selfrepair.app.questions.subject import Subject

RANKINGS = {"last MLP's repair": "mlp_repair", "direct effect": "direct_effect"}


def top_repairing_neuron(subject: Subject) -> Drawn:
    """Fig. 7."""
    answer = neuron_questions.top_neurons(subject)
    return Drawn(
        neuron_charts.top_repairing_neuron(answer.frame),
        answer,
        f"{subject.head_name}; at most {neuron_questions.SAMPLE:,} of its top rows by the last MLP "
        "layer's self-repair. Left of 0 and above the line: anti-erasure.",
    )


def top_repairing_neuron_histogram(subject: Subject) -> Drawn:
    """Fig. 7, histogram."""
    answer = detail_questions.of_head(subject, "top_repairing_neuron_histogram")
    return Drawn(
        token_charts.histogram(
            answer.frame.assign(ablation=subject.ablation),
            x="direct effect of the neuron (logits)",
            line_at=0,
        ),
        answer,
        f"{subject.head_name}, top rows by the last MLP layer's self-repair.",
    )


def repairing_neuron_frequency(subject: Subject) -> Drawn:
    """Fig. 8."""
    answer = detail_questions.of_head(subject, "repairing_neuron_frequency")
    return Drawn(
        neuron_charts.repairing_neuron_frequency(answer.frame),
        answer,
        f"{subject.head_name}, its top rows by direct effect; thresholds are shares of its direct "
        "effect.",
    )


def neuron_cumulative_change(subject: Subject) -> Drawn:
    """Fig. 12-15."""
    answer = detail_questions.of_head(subject, "neuron_cumulative_change")
    return Drawn(
        neuron_charts.neuron_cumulative_change(answer.frame),
        answer,
        f"{subject.head_name}. A steep start or end: few neurons do it. The flat middle hardly "
        "changes. Hollow: the median at that place is not kept for this head.",
    )


def neuron_frequency(subject: Subject, *, ranking: str = "last MLP's repair") -> Drawn:
    """Section 4.2.2. ranking: what the head's top rows are top by, of `RANKINGS`."""
    answer = neuron_questions.neuron_frequency(subject, RANKINGS[ranking])
    return Drawn(
        neuron_charts.neuron_frequency(answer.frame),
        answer,
        f"{subject.head_name}, its top rows (ranked by {ranking}); the 200 most frequent neurons.",
    )


_CUMULATIVE = Figure(
    neuron_cumulative_change,
    ("n_neurons", "cumulative_share", "direct_effect_median"),
    of_head=True,
)
FIGURES = {
    "7": Figure(
        top_repairing_neuron,
        ("direct_effect", "direct_effect_ablated", "mlp_direct_effect", "anti_erasure"),
        "top_repairing_neuron",
        of_head=True,
        heads=neuron_questions.neuron_heads,
    ),
    "7, histogram": Figure(
        top_repairing_neuron_histogram, of_head=True, heads=neuron_questions.neuron_heads
    ),
    "8": Figure(
        repairing_neuron_frequency,
        ("neuron_rank", "threshold", "share"),
        "repairing_neuron_frequency",
        of_head=True,
    ),
    **dict.fromkeys(("12", "13", "14", "15"), _CUMULATIVE),
    "section 4.2.2": Figure(
        neuron_frequency,
        ("share_among_ten",),
        "neuron_frequency",
        of_head=True,
        heads=neuron_questions.neuron_heads,
        choices=("ranking",),
    ),
}

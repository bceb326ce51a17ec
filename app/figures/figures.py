"""Every figure of the paper as one function call: what is drawn, from which rows, with which words.

The Paper page and the report draw the same figures from here.
"""

from collections.abc import Callable

import pandas as pd
import plotly.graph_objects as go

from selfrepair.app.charts import (
    detail_charts,
    effect_charts,
    position_charts,
    repair_charts,
    run_charts,
    token_charts,
    trust_charts,
)
from selfrepair.app.figures import kind_figures
from selfrepair.app.figures.drawn import Drawn, Look
from selfrepair.app.questions import (
    detail_questions,
    head_questions,
    neuron_questions,
    run_questions,
    trust_questions,
)
from selfrepair.app.questions.queries import Serving, meaning
from selfrepair.app.questions.run_questions import BY_DEPTH
from selfrepair.app.wording import kinds, trust_words, words


def by_depth(serving: Serving, figure: str, look: Look) -> Drawn:
    """Fig. 1, 6, 10, 11."""
    _, quantity = BY_DEPTH[figure]
    answer = run_questions.by_depth(serving, figure, [look.run], look.ablation)
    y = words.axis(quantity, meaning(serving, quantity))
    y_range = None
    caption = (
        "A dot is a head, the line the mean of a layer's heads with its standard error; hollow: "
        "the ablation removed less than half of the head's direct effect."
    )
    if figure == "10" and len(answer.frame):
        low, high = answer.frame[quantity].quantile([0.02, 0.98])
        y_range = (float(low - 0.1 * (high - low) - 1e-6), float(high + 0.1 * (high - low) + 1e-6))
        caption += " The outermost 2 % of the heads lie outside the drawn range."
    return Drawn(run_charts.by_depth(answer.frame, quantity, y, y_range), answer, caption)


def effects(serving: Serving, figure: str, look: Look) -> Drawn:
    """Fig. 2 and 20-22."""
    answer = run_questions.effects(serving, look.run, look.ablation)
    among = kinds.clusters(serving, look.run)
    return Drawn(
        effect_charts.effects(
            answer.frame, "mean direct effect (logits)", "mean logit change (logits)"
        ),
        answer,
        kinds.zone(answer.frame, among),
    )


def token_scatter(serving: Serving, figure: str, look: Look) -> Drawn:
    """Fig. 3 (one ablation) and 5 (all that were measured)."""
    answer = head_questions.sampled_tokens(serving, look.run, look.layer, look.head)
    measured = list(dict.fromkeys(answer.frame["ablation"]))
    shown = measured if figure == "5" else [look.ablation]
    return Drawn(
        token_charts.scatter(answer.frame, shown),
        answer,
        f"{words.head(look.layer, look.head)}; at most {head_questions.SAMPLE:,} sampled tokens "
        f"per ablation. Measured: {', '.join(measured)}.",
    )


def layernorm_ratio(serving: Serving, figure: str, look: Look) -> Drawn:
    """Fig. 4, 17 and 18."""
    answer = head_questions.layernorm_ratios(serving, look.run, look.layer, look.head)
    above = answer.frame.drop_duplicates("ablation")
    shares = ", ".join(
        f"{row.ablation} {words.share(row.share_above_one)}" for row in above.itertuples()
    )
    return Drawn(
        token_charts.histogram(answer.frame, x="ln_scale / ln_scale_ablated", line_at=1),
        answer,
        f"{words.head(look.layer, look.head)}, top rows. Share above 1: {shares}.",
    )


def residual_norm(serving: Serving, figure: str, look: Look) -> Drawn:
    """Fig. 16."""
    answer = head_questions.residual_norms(serving, look.run, look.layer, look.head)
    return Drawn(
        token_charts.histogram(answer.frame, x="ln_scale_ablated / ln_scale", line_at=1),
        answer,
        f"{words.head(look.layer, look.head)}, all rows.",
    )


def per_token(serving: Serving, figure: str, look: Look) -> Drawn:
    """Section 2.3: the spread over tokens."""
    answer = head_questions.per_token(serving, look.run, look.layer, look.head, "all tokens")
    return Drawn(
        token_charts.histogram(
            answer.frame, x="self-repair (logits)", line_at=0, y="share of tokens"
        ),
        answer,
        f"{words.head(look.layer, look.head)}, all tokens; what lies beyond the outer 0.1 % is in "
        "the outermost bins.",
    )


def per_sequence(serving: Serving, figure: str, look: Look) -> Drawn:
    """Section 2.3: the spread over sequences."""
    answer = head_questions.per_sequence(serving, look.run, look.layer, look.head, "all")
    return Drawn(
        token_charts.histogram(
            answer.frame, x="self-repair (logits)", line_at=0, y="share of sequences"
        ),
        answer,
        f"{words.head(look.layer, look.head)}: the mean of each sequence.",
    )


def top_neurons(serving: Serving, figure: str, look: Look) -> Drawn:
    """Fig. 7."""
    answer = neuron_questions.top_neurons(serving, look.run, look.ablation, look.layer, look.head)
    return Drawn(
        detail_charts.top_neurons(answer.frame),
        answer,
        f"{words.head(look.layer, look.head)}, top rows by the last MLP layer's self-repair.",
    )


def of_head(
    view: str, draw: Callable[[pd.DataFrame], go.Figure]
) -> Callable[[Serving, str, Look], Drawn]:
    """A figure of one head under one ablation, drawn from all rows of a view about it."""

    def drawn(serving: Serving, figure: str, look: Look) -> Drawn:
        answer = detail_questions.of_head(
            serving, view, look.run, look.ablation, look.layer, look.head
        )
        return Drawn(
            draw(answer.frame.assign(ablation=look.ablation)),
            answer,
            f"{words.head(look.layer, look.head)}.",
        )

    return drawn


def among_ten(serving: Serving, figure: str, look: Look) -> Drawn:
    """Section 4.2.2."""
    answer = neuron_questions.neuron_frequency(
        serving, look.run, look.ablation, look.layer, look.head, "mlp_repair"
    )
    return Drawn(
        detail_charts.among_ten(answer.frame),
        answer,
        f"{words.head(look.layer, look.head)}; the 200 most frequent neurons.",
    )


def reinforcement(serving: Serving, figure: str, look: Look) -> Drawn:
    """Fig. 9 (scale 3, or the one measured that is nearest) and 19 (all)."""
    answer = detail_questions.reinforcement(serving, look.run, look.layer, look.head)
    scales = sorted(float(scale) for scale in answer.frame["scale"].unique())
    if figure == "9":
        scales = sorted(scales, key=lambda scale: abs(scale - 3))[:1]
    return Drawn(
        detail_charts.reinforcement(answer.frame, scales),
        answer,
        f"{words.head(look.layer, look.head)}; a sample of positions.",
    )


def reinforcing_heads(serving: Serving, figure: str, look: Look) -> Drawn:
    """Section 5.3."""
    answer = detail_questions.reinforcing_heads(serving, look.run)
    among, n = kinds.reinforcement_clusters(serving, look.run), len(answer.frame)
    counts = answer.frame["kind"].value_counts()
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    labels = among.why_no_label or f"{said} ({among.level(n)})"
    return Drawn(detail_charts.slopes(answer.frame), answer, f"Of {n} heads: {labels}.")


def ranks(serving: Serving, figure: str, look: Look) -> Drawn:
    """Section 5.1."""
    answer = trust_questions.trust(serving, look.run, look.ablation, "all")
    among = kinds.clusters(serving, look.run)
    return Drawn(
        trust_charts.ranks(answer.frame),
        answer,
        f"Means over all tokens. {trust_words.said_of_places(answer.frame, among)}",
    )


def who_repairs_whom(serving: Serving, figure: str, look: Look) -> Drawn:
    """Beyond the paper."""
    answer = detail_questions.who_repairs_whom(serving, look.run, look.ablation)
    return Drawn(
        repair_charts.who_repairs_whom(answer.frame, dark=look.dark),
        answer,
        f"Mean change in direct effect on the ablated head's top rows: the "
        f"{detail_questions.MOST_HEADS} most self-repaired heads, and the components whose part "
        f"beyond noise is largest. {repair_charts.CAPTION}",
    )


def by_position(serving: Serving, figure: str, look: Look) -> Drawn:
    """Beyond the paper."""
    answer = head_questions.by_position(serving, look.run, look.ablation, look.layer, look.head)
    errors = kinds.clusters(serving, look.run).errors
    return Drawn(
        position_charts.by_position(answer.frame),
        answer,
        f"{words.head(look.layer, look.head)}, {look.ablation} ablation: means over all tokens at "
        f"a position with their standard errors; {errors}; bins beyond position 7. "
        "Below: how many of all rows and of the top rows by direct effect are there.",
    )


def neurons_histogram(frame: pd.DataFrame) -> go.Figure:
    """Fig. 7, histogram."""
    return token_charts.histogram(frame, x="direct effect of the neuron (logits)", line_at=0)


DRAWN_BY: dict[str, Callable[[Serving, str, Look], Drawn]] = {
    **dict.fromkeys(("1", "6", "10", "11"), by_depth),
    **dict.fromkeys(("2", "20", "21", "22"), effects),
    **dict.fromkeys(("3", "5"), token_scatter),
    **dict.fromkeys(("4", "17", "18"), layernorm_ratio),
    "16": residual_norm,
    "section 2.3": per_token,
    "section 2.3, per prompt": per_sequence,
    "7": top_neurons,
    "7, histogram": of_head("top_repairing_neuron_histogram", neurons_histogram),
    "8": of_head("repairing_neuron_frequency", detail_charts.frequency),
    **dict.fromkeys(
        ("12", "13", "14", "15"), of_head("neuron_cumulative_change", detail_charts.cumulative)
    ),
    **dict.fromkeys(("9", "19"), reinforcement),
    "section 4.2.2": among_ten,
    "section 5.1": ranks,
    "section 5.3": reinforcing_heads,
    "who repairs whom": who_repairs_whom,
    "positions": by_position,
    "what is repaired": kind_figures.what_is_repaired,
    "what is repaired, by run": kind_figures.what_is_repaired_by_run,
}
OF_CHOSEN_HEADS = {"7", "7, histogram", "section 4.2.2"}  # those whose every neuron was kept
OF_MEASURED_HEADS = {"9", "19"}  # those whose self-reinforcement was measured
OF_ONE_HEAD = (
    {"3", "4", "5", "8", "12", "13", "14", "15", "16", "17", "18"}
    | {"section 2.3", "section 2.3, per prompt", "positions"}
    | OF_CHOSEN_HEADS
    | OF_MEASURED_HEADS
)


def heads_of(serving: Serving, figure: str, run: str, ablation: str) -> list[str]:
    """The heads that a figure can be drawn of, where that is not every ablated one; else none."""
    if figure in OF_CHOSEN_HEADS:
        kept = neuron_questions.neuron_heads(serving, run, ablation).frame
    elif figure in OF_MEASURED_HEADS:
        kept = detail_questions.reinforcing_heads(serving, run).frame
    else:
        return []
    return [words.head(one.layer, one.head) for one in kept.itertuples()]

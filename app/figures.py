"""Every figure of the paper as one function call: what is drawn, from which rows, with which words.

The Paper page and the report draw the same figures from here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go

from app import charts, head_questions, questions, token_charts, words
from app.queries import Answer, Serving, meaning
from app.questions import BY_DEPTH


@dataclass(frozen=True)
class Look:
    """What is looked at. A figure takes of it what it needs."""

    run: str
    ablation: str
    layer: int
    head: int
    dark: bool = False


@dataclass(frozen=True)
class Drawn:
    """A figure, the rows it was drawn from, and what to say below it."""

    figure: go.Figure
    answer: Answer
    caption: str


# What the paper reports, where it names a number or a shape.
PAPER = {
    "1": "Self-repair exists in all models, and mean self-repair is larger in later layers "
    "(section 2.2).",
    "2": "Many heads lie between the line y = −x and the x-axis: they are self-repaired, and most "
    "of them only in part (section 2.2).",
    "3": "Pythia-410M, four heads: self-repair is noisy from token to token (section 2.3).",
    "4": "Pythia-160M L11H2: 90.66 % of the ratios are above 1 under resample, 98.75 % under mean "
    "and 100 % under zero ablation (section 3.2).",
    "5": "Zero and mean ablation move the logits more than resample ablation does (section 3.2).",
    "6": "LayerNorm repairs some of the direct effect of most heads (section 3.2).",
    "10": "The unclipped fraction is unstable where direct effects are near zero (appendix A).",
    "11": "About 30 % of the direct effect in most models and layers (section 3.2). The authors' "
    "stored means over heads: Pythia-160M 0.341, GPT2-Small 0.318, Pythia-410M 0.251, "
    "GPT2-Medium 0.296.",
    "16": "The final residual's norm often falls when a head is ablated (appendix D).",
    "17": "Figure 4 for GPT2-Small L11H10 (appendix).",
    "18": "Figure 4 for GPT2-Small L11H3 (appendix).",
    "20": "Figure 2 for Llama-7B (appendix F).",
    "21": "Figure 2 for Pythia-410M (appendix F).",
    "22": "Figure 2 for GPT2-Medium (appendix F).",
    "section 2.3": "Self-repair is imperfect and noisy: tokens are overcorrected or broken.",
    "section 2.3, per prompt": "Self-repair differs between prompts.",
}
# Heads that a figure is about; taken where the run has them.
PAPER_HEADS = {"4": (11, 2), "17": (11, 10), "18": (11, 3)}


def by_depth(serving: Serving, figure: str, look: Look) -> Drawn:
    """Fig. 1, 6, 10, 11."""
    _, quantity = BY_DEPTH[figure]
    answer = questions.by_depth(serving, figure, [look.run], look.ablation)
    y = words.axis(quantity, meaning(serving, quantity))
    y_range = None
    caption = "A dot is a head, the line the mean of a layer's heads with its standard error."
    if figure == "10" and len(answer.frame):
        low, high = answer.frame[quantity].quantile([0.02, 0.98])
        y_range = (float(low - 0.1 * (high - low) - 1e-6), float(high + 0.1 * (high - low) + 1e-6))
        caption += " The outermost 2 % of the heads lie outside the drawn range."
    return Drawn(charts.by_depth(answer.frame, quantity, y, y_range), answer, caption)


def effects(serving: Serving, figure: str, look: Look) -> Drawn:
    """Fig. 2 and 20-22."""
    answer = questions.effects(serving, look.run, look.ablation)
    n = int(answer.frame["self_repaired"].sum())
    return Drawn(
        charts.effects(answer.frame, "mean direct effect (logits)", "mean logit change (logits)"),
        answer,
        f"{n} of {len(answer.frame)} heads are self-repaired. Means over all tokens.",
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


DRAWN_BY: dict[str, Callable[[Serving, str, Look], Drawn]] = {
    **dict.fromkeys(("1", "6", "10", "11"), by_depth),
    **dict.fromkeys(("2", "20", "21", "22"), effects),
    **dict.fromkeys(("3", "5"), token_scatter),
    **dict.fromkeys(("4", "17", "18"), layernorm_ratio),
    "16": residual_norm,
    "section 2.3": per_token,
    "section 2.3, per prompt": per_sequence,
}
OF_ONE_HEAD = {"3", "4", "5", "16", "17", "18", "section 2.3", "section 2.3, per prompt"}

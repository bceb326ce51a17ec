"""What each word means, once: the Glossary page and the help texts of other pages read it here.

Formulas name columns of the warehouse; their exact definitions are in `sql/`.
"""

import re
from dataclasses import dataclass

from selfrepair_assets.measurement.ablations import ABLATIONS


@dataclass(frozen=True)
class Term:
    """A word, and what it means in one or two lines.

    paper: where the paper has it; "" where it is not the paper's. address: the name, where it is
    not the title's.
    """

    title: str
    definition: str
    paper: str = ""
    address: str = ""

    @property
    def name(self) -> str:
        """As it stands in an address (`glossary?term=top_rows`)."""
        return self.address or re.sub("[ -]", "_", self.title)


GROUPS: dict[str, tuple[Term, ...]] = {
    "What is measured": (
        Term(
            "run",
            "One model measured on one text with one set of settings. All that decides its numbers "
            "stands in the table `runs`; a run's row is a head, an ablation and a token.",
        ),
        Term(
            "generation",
            "One published state of the warehouse. Each publishing makes a new one, whole; the app "
            "shows the newest at your next click, and whoever still reads an older one keeps it.",
        ),
        Term(
            "top rows",
            "Of N rows of a head, the ⌊`top_fraction` · N⌋ with the largest signed `direct_effect` "
            "(the paper: 2 %): the tokens at which the head does most for the target.",
            "section 2.2",
        ),
        Term(
            "cluster",
            "The rows that count as one text in a standard error, because tokens of one text are "
            "not independent: a document where there are ten or more, else a sequence. Below ten "
            "nothing is labelled.",
        ),
        Term(
            "standard error",
            "How far a mean would vary with other text: √(G/(G − 1) · Σ e_g²) / n, e_g the sum of "
            "deviations in cluster g of G. For top rows it counts that other text has another cut. "
            "Written ± or `_se`.",
        ),
    ),
    "What a head does": (
        Term(
            "direct effect",
            "What a head itself adds to the logit of the target: its output's part along the "
            "target's unembedding direction, over the clean LayerNorm scale, (c · u_t) / S.",
            "section 2.1",
        ),
        Term(
            "direct effect removed",
            "What an ablation took away: `direct_effect − direct_effect_ablated`. Self-repair "
            "answers to this. Where little was removed, a small logit change shows no repair.",
        ),
        Term(
            "logit change",
            "The target's logit on the ablated run minus that on the clean run. Without any "
            "repair it is minus the direct effect removed.",
            "section 2.1",
        ),
        Term(
            "self-reinforcing",
            "A head that does more of what it did when its own output is added to what it reads: "
            "its direct effect grows with the scale of what is added (`relative_slope` > 0).",
            "section 5.3",
        ),
        Term(
            "self-repressing",
            "A head that does less of what it did when its own output is added to what it reads: "
            "its direct effect falls with the scale of what is added (`relative_slope` < 0).",
            "section 5.3, appendix E",
        ),
    ),
    "How a head is removed": tuple(
        Term(f"{kind.name} ablation", kind.meaning, kind.section) for kind in ABLATIONS.values()
    ),
    "What the rest of the model does": (
        Term(
            "self-repair",
            "What later parts make up for: `logit_change − (direct_effect_ablated − "
            "direct_effect)`, the sum of the parts of later heads, later MLPs and LayerNorm.",
            "sections 2.1 and 3.2, equations 1 and 2",
        ),
        Term(
            "not removed",
            "A head of which the ablation removes less than half of the mean direct effect "
            "(`share_removed` < 0.5). A small logit change then shows no repair.",
        ),
        Term(
            "repaired",
            "A head, at least half removed, whose mean self-repair surely has the sign of what was "
            "removed. Surely: Student's t over ten clusters or more, at 5 % corrected for the "
            "number of heads.",
            "section 2.2, which says it of the zone of figure 2",
        ),
        Term(
            "overcorrected",
            "A row whose self-repair has the sign of the direct effect and is larger. A repaired "
            "head is, where its mean logit change surely has the sign of what was removed.",
            "section 2.3",
        ),
        Term(
            "broken",
            "A row whose self-repair has the other sign than the direct effect: breakage, not "
            "repair. A head, at least half removed, is where its mean surely has the other sign "
            "than what was removed.",
            "section 2.1",
        ),
        Term(
            "hidden",
            "The share of what an ablation removed that the logit does not show: mean "
            "`self_repair` / mean direct effect removed. None where nothing sure was removed.",
            "section 5.1",
        ),
        Term(
            "LayerNorm scale and ratio",
            "The scale S is the divisor of the final norm (RMSNorm too), S′ that of the ablated "
            "run. The ratio is S / S′: above 1 the norm amplifies the logits that are left.",
            "section 3.1, figure 4",
            address="layernorm_ratio",
        ),
        Term(
            "post-norm",
            "A norm between attention and residual stream (Gemma 2 and 3, OLMo 2 and 3). A head "
            "counts as the clean one passes it on; what its changed scale gives back is "
            "`self_repair_from_post_norm`.",
            "not in the paper",
        ),
        Term(
            "frozen",
            "With the final norm held at its clean scale, so that LayerNorm repairs nothing: "
            "`logit_change − self_repair_from_layernorm`.",
            "section 5.2",
        ),
        Term(
            "clipped",
            "A fraction of the direct effect (such as LayerNorm's part) cut to 0 … 100 % at each "
            "token before it is averaged. The cut makes a positive mean even of noise.",
            "section 3.2, appendix A",
        ),
    ),
    "Neurons of the last MLP layer": (
        Term(
            "top-repairing neuron",
            "The neuron of the last MLP layer whose direct effect rises most when the head is "
            "ablated, at one token; at another token it may be another.",
            "section 4.1, figure 7",
        ),
        Term(
            "anti-erasure",
            "A neuron that worked against the target, and does so less when the head is ablated: "
            "`direct_effect < 0` and `direct_effect_ablated > direct_effect`.",
            "section 4, figure 7",
        ),
    ),
}
TERMS = {term.name: term for group in GROUPS.values() for term in group}

# The words that a page uses most; they are links at its end. By the page's name.
OF_PAGE: dict[str, tuple[str, ...]] = {
    "overview": ("run", "generation", "top_rows", "repaired", "overcorrected", "broken", "clipped"),
    "across_models": ("run", "top_rows", "self_repair", "clipped", "standard_error"),
    "model": (
        "direct_effect",
        "direct_effect_removed",
        "self_repair",
        "repaired",
        "not_removed",
        "top_rows",
    ),
    "head": ("top_rows", "direct_effect_removed", "repaired", "overcorrected", "broken", "clipped"),
    "trust": ("direct_effect", "direct_effect_removed", "not_removed", "hidden", "frozen"),
    "neurons": ("top_repairing_neuron", "anti_erasure", "top_rows"),
    "self_reinforcement": ("self_reinforcing", "self_repressing", "cluster", "standard_error"),
    "paper": ("top_rows", "self_repair", "resample_ablation", "clipped", "anti_erasure"),
    "token": ("direct_effect", "direct_effect_removed", "self_repair", "top_rows"),
    "compare": ("self_repair", "direct_effect_removed", "cluster", "standard_error"),
    "sql": ("run", "generation", "top_rows", "cluster"),
}


def explained(*names: str) -> str:
    """The definitions of these terms, for a tooltip.

    Raises KeyError for what is no term.
    """
    return "\n".join(f"- **{TERMS[name].title}**: {TERMS[name].definition}" for name in names)

"""What the paper says of each figure, and where: in our words, or its own between “ and ”.

Where its text and its captions name different heads or figures, both are told.
"""

_CURVE = (
    "Roughly 60 % of the layer's neurons have negligible changes; in almost all of figures 12 to "
    "15 the most repairing neurons have a negative clean direct effect (appendix C)."
)

PAPER = {
    "1": "“Self-Repair exists across many later layers in different models, although the amount "
    "varies between heads” (caption; section 2.2).",
    "2": "Pythia-1B: many heads lie between the line y = −x and the x-axis, the last layer's "
    "among them; the paper calls these self-repaired. They are not repaired perfectly: ablating "
    "them leaves “a small, but noticeable, logit difference” (section 2.2).",
    "3": "Pythia-410M, four heads: within one head the values “can vary highly”. L22H11 and L20H6 "
    "appear to be self-repaired on average; L23H1 and L20H14 show no clear correlation "
    "(section 2.3).",
    "4": "Pythia-160M L11H2: 90.66 % of the ratios are above 1 under resample, 98.75 % under mean "
    "and 100 % under zero ablation (section 3.2).",
    "5": "Zero ablation can raise the logit of the target where the head's direct effect is "
    "positive. In this head of Pythia-160M's last layer only LayerNorm can repair (section 3.2, "
    "which names L11H10; the caption has L11H0).",
    "6": "“LayerNorm has a significant effect on later layers of the model” (caption; section "
    "3.2).",
    "7": "Pythia-160M L10H11: at many tokens the most repairing neuron has a negative clean direct "
    "effect, and a less negative one when the head is ablated: anti-erasure. The whole MLP "
    "layer's direct effect is almost always positive (section 4.1).",
    "7, histogram": "Pythia-160M L10H11: the most repairing neuron typically has a negative clean "
    "direct effect (caption of figure 7; section 4.1).",
    "8": "A sparse number of neurons repairs heavily: in Llama-7B the most repairing neuron "
    "repairs 10 % of the direct effect of L30H8 in over 40 % of the instances (section 4.2).",
    "9": "GPT2-Medium L21H1, its output added three times: “L21H1 has a decreased direct effect as "
    "a result” (caption; section 5.3).",
    "10": "As a fraction of the direct effect self-repair can have extreme values, which skew an "
    "average immensely; a head's direct effect is sparse (appendix A).",
    "11": "Around 30 % of the direct effect on average, across many layers; best treated as "
    "directional rather than precise. Because of the clipping it could also be read as: in 30 % "
    "of the cases LayerNorm repairs more than the direct effect (section 3.2, appendix A). Not in "
    "the paper, but means over heads of what its authors stored: Pythia-160M 0.341, GPT2-Small "
    "0.318, Pythia-410M 0.251, GPT2-Medium 0.296.",
    "12": "Llama-7B L30H8: only the top neuron is an erasure neuron on average. Those from the top "
    "2,000 to the top 9,000 explain less than 15 % of the change, so that roughly 60 % are "
    "negligible (appendix C, which names figure 15 for it; only Llama-7B has so many neurons).",
    "13": f"GPT2-Small L9H11. {_CURVE}",
    "14": f"Pythia-160M L7H8. {_CURVE}",
    "15": f"Pythia-410M L17H4. {_CURVE}",
    "16": "Pythia-160M L11H0: the norm changes most under zero ablation. That a head of the last "
    "layer can lower it by around 5 % is not surprising (appendix D).",
    "17": "GPT2-Small L11H10: under all ablations the ratios seem to be similar (appendix D, which "
    "names L11H11 and figure 18 for it).",
    "18": "GPT2-Small L11H3: zero ablation changes the LayerNorm more extremely than the other "
    "ablations do (appendix D).",
    "19": "GPT2-Medium L21H1, its output added 1, 3 and 5 times: how far the head represses itself "
    "is proportional to that scale (appendix E).",
    "20": "Figure 2 for Llama-7B; no more is said of it (appendix F).",
    "21": "Figure 2 for Pythia-410M; no more is said of it (appendix F).",
    "22": "Figure 2 for GPT2-Medium; no more is said of it (appendix F).",
    "section 2.3": "Self-repair is “extremely noisy”: often far less, or more, than the head's "
    "direct effect, and many heads' direct effects have no clear correlation with the change in "
    "logits (section 2.3). Repair of the other sign than a positive direct effect is downstream "
    "breakage (section 2.1).",
    "section 2.3, per prompt": "“The degree of self-repair varies significantly across different "
    "prompts” (abstract; section 2.3).",
    "section 4.2.1": "The repair of the most repairing neurons may sum to well over the layer's: "
    "other neurons' reduced direct effects compensate for it (section 4.2.1).",
    "section 4.2.1, negligible": "The authors suspect that roughly 60 % of the last layer's "
    "neurons have negligible changes, and that those of the other 40 % are small and cancel out, "
    "but are not negligible together (section 4.2.1, appendix C).",
    "section 4.2.2": "Pythia-160M L10H11: no neuron is among the ten most repairing in more than "
    "16 % of the tokens (section 4.2.2).",
    "section 5.1": "Self-repair makes ablations “an unreliable tool”; but what matters for finding "
    "a circuit is whether a component is important, and self-repair is imperfect (section 5.1).",
    "section 5.1, by run": "If the degree of self-repair differs between components, borderline "
    "ones may be included or left out wrongly (section 5.1).",
    "section 5.2": "To stay near the model's distribution, avoid zero ablation, which changes the "
    "residual stream's norm most, or freeze LayerNorm while ablating (section 5.2).",
    "section 5.3": "The direct effect of a self-reinforcing or self-repressing head increases or "
    "decreases in proportion to how much of its output is added. Not all heads are one or the "
    "other; some appear to be combinations of the two (section 5.3).",
    "appendix E": "How far a head represses itself is proportional to how much of its own output "
    "is added (appendix E).",
    "who repairs whom": "Not in the paper.",
    "positions": "Not in the paper.",
    "what is repaired": "Not in the paper.",
    "what is repaired, by run": "Not in the paper.",
    "published numbers": "Not in the paper: these are means that its authors stored with their "
    "code.",
    "published numbers, by quantity": "Not in the paper: the authors' means are those stored with "
    "their code.",
}

# The model and head that a figure of one head is about; the model without its organisation.
HEADS = {
    "4": ("pythia-160m", "L11H2"),
    "7": ("pythia-160m", "L10H11"),
    "7, histogram": ("pythia-160m", "L10H11"),
    "9": ("gpt2-medium", "L21H1"),
    "12": ("llama-7b", "L30H8"),
    "13": ("gpt2", "L9H11"),
    "14": ("pythia-160m", "L7H8"),
    "15": ("pythia-410m", "L17H4"),
    "16": ("pythia-160m", "L11H0"),
    "17": ("gpt2", "L11H10"),
    "18": ("gpt2", "L11H3"),
    "19": ("gpt2-medium", "L21H1"),
    "section 4.2.2": ("pythia-160m", "L10H11"),
}


def head_of(figure: str, run: str) -> str | None:
    """The paper's own head for a figure, where the run is of the paper's model."""
    model, head = HEADS.get(figure, ("", ""))
    name = run.partition("@")[0].rpartition("/")[2].lower()
    return head if model and name == model else None

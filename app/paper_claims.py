"""What the paper reports for each figure, where it names a number or a shape."""

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
    "7": "Pythia-160M L10H11: anti-erasure. Most repairing neurons had a negative direct effect "
    "and lose it when the head is ablated (section 4.1).",
    "8": "Few neurons repair much: beyond the first ones, hardly any repairs more than a few "
    "per cent of the direct effect (section 4.2).",
    "9": "GPT2-Medium L21H1: the head represses its own output (section 5.3).",
    "12": "Llama-7B L30H8 (appendix C).",
    "13": "GPT2-Small L9H11 (appendix C).",
    "14": "Pythia-160M L7H8 (appendix C).",
    "15": "Pythia-410M L17H4 (appendix C).",
    "19": "The same with the output times 1, 3 and 5 (appendix E).",
    "section 4.2.1": "Roughly 60 % of the neurons have negligible changes (section 4.2.1).",
    "section 4.2.1, negligible": "Roughly 60 % of the neurons (section 4.2.1).",
    "section 4.2.2": "No neuron is among the ten most repairing in more than 16 % of the tokens "
    "(section 4.2.2).",
    "section 5.3": "Some heads repress themselves, some reinforce themselves (section 5.3).",
    "who repairs whom": "Not in the paper.",
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
    "17": ("gpt2", "L11H10"),
    "18": ("gpt2", "L11H3"),
}


def head_of(figure: str, run: str) -> str | None:
    """The paper's own head for a figure, where the run is of the paper's model."""
    model, head = HEADS.get(figure, ("", ""))
    name = run.partition("@")[0].rpartition("/")[2].lower()
    return head if model and name == model else None

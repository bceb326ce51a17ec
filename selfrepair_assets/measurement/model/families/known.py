"""Which architectures the perturbation engine knows: each is one line here."""

from __future__ import annotations

from typing import Any

from selfrepair_assets.measurement.model.families import llama, others, paper, post_norm
from selfrepair_assets.measurement.model.families.parts import Family
from selfrepair_assets.measurement.model.families.reading import read
from selfrepair_assets.measurement.model.folded_model import FoldedModel, UnknownArchitectureError

KNOWN: dict[str, Family] = {
    "GPT2LMHeadModel": paper.gpt2,
    "GPTNeoForCausalLM": paper.gpt_neo,
    "OPTForCausalLM": paper.opt,
    "GPTNeoXForCausalLM": paper.gpt_neox,
    "LlamaForCausalLM": llama.llama,
    "MistralForCausalLM": llama.mistral,
    "Qwen2ForCausalLM": llama.qwen2,
    "Qwen3ForCausalLM": llama.qwen3,
    "SmolLM3ForCausalLM": llama.smollm3,
    "Phi3ForCausalLM": llama.phi3,
    "GraniteForCausalLM": llama.granite,
    "OlmoForCausalLM": llama.olmo,
    "Starcoder2ForCausalLM": llama.starcoder2,
    "StableLmForCausalLM": llama.stablelm,
    "GlmForCausalLM": llama.glm,
    "CohereForCausalLM": llama.cohere,
    "GemmaForCausalLM": post_norm.gemma,
    "Gemma2ForCausalLM": post_norm.gemma2,
    "Gemma3ForCausalLM": post_norm.gemma3,
    "Olmo2ForCausalLM": post_norm.olmo2,
    "Olmo3ForCausalLM": post_norm.olmo3,
    "Exaone4ForCausalLM": post_norm.exaone4,
    "Glm4ForCausalLM": post_norm.glm4,
    "FalconForCausalLM": others.falcon,
    "GPTJForCausalLM": others.gptj,
    "BloomForCausalLM": others.bloom,
    "MptForCausalLM": others.mpt,
}


def fold(model: Any, center_unembed: bool = True) -> FoldedModel:
    """Fold a transformers model, fp32.

    Args:
        center_unembed: subtract the vocabulary's mean from the unembedding.

    Raises:
        UnknownArchitectureError: an architecture, or a variant of one, that is not read.
    """
    name = type(model).__name__
    if name not in KNOWN:
        raise UnknownArchitectureError(name)
    parts, switches = KNOWN[name](model)
    return read(model, parts, switches, center_unembed)

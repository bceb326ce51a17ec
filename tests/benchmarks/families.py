"""Which families are measured, which way, how exactly and how fast: ``docs/families.md``.

OMP_NUM_THREADS=1 python -m tests.benchmarks.families > docs/families.md
"""

import argparse
import sys
from typing import Any

import torch
from transformers import (
    CTRLConfig,
    MambaConfig,
    OPTConfig,
    PretrainedConfig,
    RwkvConfig,
    T5Config,
)

from selfrepair_assets.measurement.ablations import ABLATIONS
from selfrepair_assets.measurement.engine.choose_engine import choose_engine
from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model.checked_boot import architecture_of
from selfrepair_assets.measurement.model.configured import ConfiguredModel
from selfrepair_assets.measurement.model.models import LoadedModel
from tests.benchmarks.hooked_rate import HEADS, LAYERS, LENGTH, rate
from tests.helpers.models.engine_truth import (
    NOT_WRAPPED,
    PERTURBATION,
    Truth,
    ablate,
    choose_precision,
    loaded,
    request_of,
    spec_of,
    truth,
)
from tests.helpers.models.families import ALL, EXPERTS, FALLBACK_ONLY, FAMILIES, MODERN

EXAMPLES = {
    "gpt2": "gpt2",
    "gpt_neo": "EleutherAI/gpt-neo-125m",
    "opt": "facebook/opt-125m",
    "gpt_neox": "EleutherAI/pythia-160m",
    "llama": "meta-llama/Llama-3.2-1B",
    "mistral": "mistralai/Mistral-7B-v0.1",
    "qwen2": "Qwen/Qwen2.5-0.5B",
    "qwen3": "Qwen/Qwen3-0.6B",
    "gemma2": "google/gemma-2-2b",
    "gemma3": "google/gemma-3-1b-pt",
    "olmo2": "allenai/OLMo-2-0425-1B",
    "phi3": "microsoft/Phi-3-mini-4k-instruct",
    "gemma": "google/gemma-2b",
    "smollm3": "HuggingFaceTB/SmolLM3-3B-Base",
    "olmo": "allenai/OLMo-1B-hf",
    "olmo3": "allenai/Olmo-3-1025-7B",
    "starcoder2": "bigcode/starcoder2-3b",
    "stablelm": "stabilityai/stablelm-3b-4e1t",
    "stablelm_parallel": "stabilityai/stablelm-2-12b",
    "glm": "zai-org/glm-4-9b-hf",
    "glm4": "zai-org/GLM-4-9B-0414",
    "cohere": "CohereLabs/c4ai-command-r-v01",
    "cohere_qk_norm": "CohereLabs/c4ai-command-r-plus",
    "granite": "ibm-granite/granite-3.3-2b-base",
    "falcon": "tiiuae/falcon-7b",
    "falcon_grouped": "tiiuae/falcon-40b",
    "falcon_sequential": "a Falcon of sequential blocks with rotary embedding",
    "falcon_alibi": "tiiuae/falcon-rw-1b",
    "mpt": "mosaicml/mpt-7b",
    "exaone4": "LGAI-EXAONE/EXAONE-4.0-1.2B",
    "gptj": "EleutherAI/gpt-j-6b",
    "bloom": "bigscience/bloom-560m",
    "phi": "microsoft/phi-2",
    "nemotron": "nvidia/Minitron-4B-Base",
    "gpt_oss": "openai/gpt-oss-20b",
    "mixtral": "mistralai/Mixtral-8x7B-v0.1",
}
D_MODEL, D_VOCAB = 128, 32_000
_TOKENS: dict[str, Any] = {"vocab_size": 97, "bos_token_id": 0, "eos_token_id": 1}
REFUSED: dict[str, tuple[str, PretrainedConfig]] = {
    "t5": ("google-t5/t5-small", T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=1)),
    "ctrl": ("Salesforce/ctrl", CTRLConfig(n_embd=32, dff=64, n_layer=2, n_head=4)),
    "rwkv": ("RWKV/rwkv-4-169m-pile", RwkvConfig(hidden_size=32, num_hidden_layers=2)),
    "mamba": (
        "state-spaces/mamba-130m-hf",
        MambaConfig(
            hidden_size=32,
            num_hidden_layers=2,
            state_size=4,
            architectures=["MambaForCausalLM"],
        ),
    ),
    "opt_projected": (
        "facebook/opt-350m",
        OPTConfig(
            num_hidden_layers=2,
            hidden_size=32,
            ffn_dim=64,
            num_attention_heads=4,
            word_embed_proj_dim=16,
            do_layer_norm_before=False,
            architectures=["OPTForCausalLM"],
            **_TOKENS,
        ),
    ),
}
"""Families that neither engine measures: an example, and a small configuration."""
ABOUT = f"""# Families

Each is measured as a small random model of its configuration (all weights, norms and biases
random), against a float64 oracle on unfolded weights: every column, three ablations, all heads. An
fp32 error is the worst of any column, as a share of the head's largest `logit_change`; a test holds
it below 1e-4. A bf16 error is that of the worst layer and ablation, `‖error‖ / ‖logit_change‖`,
with the precision that a run would choose; a test holds it below 2e-2. *fast* is the perturbation
engine, *hooked* one forward pass for each head; where a hooked pass is not possible the reason
stands in its place. *times* is how many times faster than hooked passes the fast engine is, in the
same process and in fp32, on a random model of {LAYERS} layers of {HEADS} heads, with d_model
{D_MODEL} and {D_VOCAB:,} tokens that it knows, on sequences of {LENGTH}
(`python -m tests.benchmarks.hooked_rate`), in one round on a machine that others used: a third more
or less says nothing. The names are examples of models that have the
configuration; none of these was measured here. `selfrepair doctor MODEL` tells the same of any.

| family | example | way | fast, fp32 | fast, bf16 | hooked, fp32 | times |
| --- | --- | --- | --- | --- | --- | --- |
"""
ABOUT_REFUSED = """
Neither engine measures these:

| family | example | why |
| --- | --- | --- |
"""


def rows() -> list[tuple[str, str, str, str]]:
    """Family, example, way, and why there is no hooked pass ("" where there is one)."""
    names = [*FAMILIES, *MODERN, *(name for name in FALLBACK_ONLY if name in EXAMPLES), *EXPERTS]
    return [
        (
            name,
            EXAMPLES[name],
            "fast" if name in PERTURBATION else "hooked",
            NOT_WRAPPED.get(name, ""),
        )
        for name in names
    ]


def worst_error(measurer: Measurer, expected: Truth) -> float:
    """Of all columns, ablations and heads, by the head's largest logit change."""
    return max(
        ((values - expected.columns[key][column]).abs().max() / largest).item()
        for key, columns in ablate(measurer, expected).items()
        for largest in [expected.columns[key]["logit_change"].abs().max()]
        for column, values in columns.items()
    )


def fast_error(model: LoadedModel, expected: Truth, precision: str) -> float:
    """Of the worst layer and ablation, as a run in that precision would measure it."""
    spec = spec_of(precision=precision)
    sample = request_of(expected).in_sequences(0, 2)
    chosen = choose_precision(Measurer(model, spec), sample).layers
    measured = ablate(Measurer(model, spec, chosen), expected)
    errors = []
    for layer in range(model.n_layers):
        for ablation in ABLATIONS:
            keys = [key for key in measured if (key[0], key[1].layer) == (ablation, layer)]
            right = torch.stack([expected.columns[key]["logit_change"] for key in keys])
            ours = torch.stack([measured[key]["logit_change"] for key in keys])
            errors.append(((ours - right).norm() / right.norm()).item())
    return max(errors)


def refusal(name: str) -> str:
    """Why a family is not measured, in the words of the command."""
    _, config = REFUSED[name]
    example = REFUSED[name][0]
    try:
        architecture = architecture_of(example, config)
        found = ConfiguredModel(example, architecture, config, torch.device("cpu"), True)
        choose_engine(found.thin(1))
    except InputError as error:
        return str(error).partition(". ")[0]
    raise AssertionError(f"{name} is measured")


def row(name: str, example: str, way: str, why: str) -> str:
    """A family's line, with what is measured of it."""
    print(name, file=sys.stderr, flush=True)
    first = f"{worst_error(Measurer(loaded(name), spec_of()), truth(name)):.0e}"
    if way == "hooked":
        return f"| {name} | {example} | {way} | - | - | {first} | - |"
    in_bf16 = f"{fast_error(loaded(name), truth(name), 'bf16'):.0e}"
    if why:
        return f"| {name} | {example} | {way} | {first} | {in_bf16} | refused: {why} | - |"
    slow = worst_error(Measurer(loaded(name, hooked=True), spec_of()), truth(name))
    times = f"{rate(name, D_MODEL, D_VOCAB, rounds=1, with_bf16=False).times:.0f}"
    return f"| {name} | {example} | {way} | {first} | {in_bf16} | {slow:.0e} | {times} |"


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    assert set(EXAMPLES) <= set(ALL) | set(EXPERTS)
    print(ABOUT, end="")
    for of in rows():
        print(row(*of), flush=True)
    print(ABOUT_REFUSED, end="")
    for name, (example, _) in REFUSED.items():
        print(f"| {name} | {example} | {refusal(name)} |")


if __name__ == "__main__":
    main()

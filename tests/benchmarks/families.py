"""Which families are measured, which way, and how exactly: the table of ``docs/families.md``.

python -m tests.benchmarks.families > docs/families.md
"""

from selfrepair_assets.measurement.engine.measure import Measurer
from tests.helpers.models.engine_truth import (
    NOT_WRAPPED,
    PERTURBATION,
    Truth,
    ablate,
    loaded,
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
ABOUT = """# Families

Each is measured as a small random model of its configuration (all weights, norms and biases
random), against a float64 oracle on unfolded weights: every column, three ablations, all heads. The
error is the worst of any column, as a share of the head's largest `logit_change`; a test holds it
below 1e-4. *fast* is the perturbation engine, *hooked* one forward pass for each head; where a
hooked pass is not possible the reason stands in its place. The names are examples of models that
have the configuration; none of these was measured here.

| family | example | way | fast, worst error | hooked, worst error |
| --- | --- | --- | --- | --- |
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


def main() -> None:
    print(ABOUT, end="")
    for name, example, way, why in rows():
        fast = f"{worst_error(Measurer(loaded(name), spec_of()), truth(name)):.0e}"
        if way == "hooked":
            fast, hooked = "-", fast
        elif why:
            hooked = f"refused: {why}"
        else:
            slow = Measurer(loaded(name, hooked=True), spec_of())
            hooked = f"{worst_error(slow, truth(name)):.0e}"
        print(f"| {name} | {example} | {way} | {fast} | {hooked} |")
    assert set(EXAMPLES) <= set(ALL) | set(EXPERTS)


if __name__ == "__main__":
    main()

"""The engine against the oracle on a trained model, whose activations random weights do not have.

In a trained model the residual stream has a few directions a thousand times larger than the rest,
BOS takes most of the attention, and some heads' ablations change almost nothing: where rounding
would show, it shows here.
"""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from selfrepair_assets.measurement.engine.interface import AblationRequest
from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model.bundled import NAME, bundled_model
from selfrepair_assets.measurement.model.models import load_model
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.measurement.text.corpus import token_sequences
from tests.helpers.models.engine_truth import choose_precision, columns_of
from tests.helpers.models.oracle import Oracle

HEADS = [Head(0, 3), Head(1, 7), Head(15, 2), Head(28, 5), Head(29, 0)]
SEQUENCES, LENGTH = 2, 32


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    tokenizer = load_model(NAME, device="cpu").tokenizer
    text = token_sequences(
        "python-docs", tokenizer, n_sequences=SEQUENCES, sequence_length=LENGTH, sample="head"
    )
    return text.tokens


@pytest.fixture(scope="module")
def expected(tokens: np.ndarray) -> dict[Head, dict[str, torch.Tensor]]:
    model = AutoModelForCausalLM.from_pretrained(
        bundled_model(), dtype=torch.float32, attn_implementation="eager"
    )
    oracle = Oracle(model)
    clean = torch.from_numpy(tokens.astype(np.int64))
    return {
        head: oracle.ablate(
            clean, "resample", head.layer, head.head, partner_tokens=clean.roll(1, 0)
        )
        for head in HEADS
    }


def measure(precision: str, tokens: np.ndarray) -> tuple[list[str], dict[Head, dict]]:
    spec = RunSpec(
        model=NAME,
        tokens=tokens.size,
        sequence_length=LENGTH,
        heads=",".join(map(str, HEADS)),
        precision=precision,
        device="cpu",
    )
    loaded = load_model(NAME, device="cpu")
    request = AblationRequest(tokens, HEADS, ["resample"], np.roll(tokens, 1, axis=0))
    layers = ["fp32"] * loaded.n_layers
    if precision == "bf16":
        layers = choose_precision(Measurer(loaded, spec), request).layers
    measured = columns_of(Measurer(loaded, spec, layers).ablate(request))
    return layers, {head: columns for (_, head), columns in measured.items()}


def test_every_column_equals_the_oracle(
    tokens: np.ndarray, expected: dict[Head, dict[str, torch.Tensor]]
) -> None:
    _, measured = measure("fp32", tokens)
    for head, right in expected.items():
        largest = right["logit_change"].abs().max()
        for name, values in measured[head].items():
            error = (values - right[name]).abs()
            if name == "ln_scale_ablated":  # not in logits: hundreds where the residual is massive
                assert (error / right[name]).max() < 1e-5, f"{name} of {head}"
            else:
                assert error.max() < 1e-4 * largest, f"{name} of {head}"


def test_bf16_keeps_its_bound(
    tokens: np.ndarray, expected: dict[Head, dict[str, torch.Tensor]]
) -> None:
    layer_precision, measured = measure("bf16", tokens)
    assert layer_precision[28] == "bf16"
    for head, right in expected.items():
        error = measured[head]["logit_change"] - right["logit_change"]
        assert error.norm() < 2e-2 * right["logit_change"].norm(), str(head)

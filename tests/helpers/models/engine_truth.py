"""What the engines' tests share: the oracle's answers, computed once, and the comparison."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from selfrepair_assets.measurement.ablations import ABLATIONS
from selfrepair_assets.measurement.engine import fast_error
from selfrepair_assets.measurement.engine.fast_error import LayerPrecision
from selfrepair_assets.measurement.engine.interface import AblationRequest
from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.engine.results import ABLATION_COLUMNS, MeasuredHeads
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model.models import LoadedModel, load_model
from selfrepair_assets.measurement.run_spec import RunSpec
from tests.helpers.models.families import (
    FAMILIES,
    MODERN,
    VARIANTS,
    random_model,
    random_tokens,
    save,
)
from tests.helpers.models.oracle import CleanFacts, Oracle

PERTURBATION = [*FAMILIES, *VARIANTS, *MODERN]
NOT_WRAPPED = {
    "falcon_grouped": "TransformerLens cannot load",
    "falcon_alibi": "TransformerLens computes other logits",  # it counts ALiBi twice
}
"""What only the perturbation engine measures, and why the hooked one does not."""
FP32_BOUND = 1e-4  # of the head's largest logit change
BF16_BOUND = 2e-2  # norm of the error by norm of the logit change

Columns = dict[tuple[str, Head], dict[str, Tensor]]


@dataclass
class Truth:
    """What the oracle says of one model on one set of tokens."""

    tokens: np.ndarray
    partners: np.ndarray
    mean_z: Tensor
    clean: CleanFacts
    columns: Columns


@cache
def truth(name: str, center_unembed: bool = True, length: int = 12, bos: bool = False) -> Truth:
    tokens = random_tokens(3, length, bos=bos)
    partners = tokens.roll(2, 0)  # not the next one, which an engine might assume
    oracle = Oracle(random_model(name), center_unembed)
    mean_z = oracle.mean_z(tokens)
    columns = {
        (ablation, Head(layer, head)): oracle.ablate(
            tokens, ablation, layer, head, partner_tokens=partners, mean_z=mean_z
        )
        for ablation in ABLATIONS
        for layer in oracle.layers
        for head in oracle.heads
    }
    return Truth(
        tokens.numpy().astype(np.int32),
        partners.numpy().astype(np.int32),
        mean_z,
        oracle.clean(tokens),
        columns,
    )


_FOLDERS: list[TemporaryDirectory[str]] = []  # whose files a bridge reads later


@cache
def loaded(
    name: str, center_unembed: bool = True, hooked: bool = False, device: str = "cpu"
) -> LoadedModel:
    """The model, saved and loaded once for all tests; as if it were not known if `hooked`."""
    _FOLDERS.append(TemporaryDirectory())
    folder = save(name, Path(_FOLDERS[-1].name))
    model = load_model(str(folder), device=device, center_unembed=center_unembed)
    return replace(model, folded=None) if hooked else model


def spec_of(**choices: object) -> RunSpec:
    settings = {"model": "tiny", "ablations": tuple(ABLATIONS), "tokens": 36, "sequence_length": 12}
    return RunSpec(**{**settings, **choices})  # type: ignore[arg-type]


def request_of(expected: Truth, heads: Sequence[Head] | None = None) -> AblationRequest:
    """All ablations of some heads, or of all, of the model that the truth is of."""
    return AblationRequest(
        expected.tokens,
        heads or sorted({head for _, head in expected.columns}),
        list(ABLATIONS),
        expected.partners,
        expected.mean_z.float().numpy(),
    )


def ablate(measurer: Measurer, expected: Truth, heads: Sequence[Head] | None = None) -> Columns:
    """The columns of each ablation of each head, with the mean `z` that the engine measures."""
    mean_z = (measurer.clean(expected.tokens).z_sum / expected.tokens.size).float().numpy()
    request = replace(request_of(expected, heads), mean_z=mean_z)
    return columns_of(measurer.ablate(request))


def columns_of(results: Iterable[MeasuredHeads]) -> Columns:
    return {
        (found.ablation, head): {name: values[i] for name, values in found.columns.items()}
        for found in results
        for i, head in enumerate(found.heads)
    }


def choose_precision(measurer: Measurer, request: AblationRequest) -> LayerPrecision:
    """The precision of each layer by what the request's sequences show, as before a run."""
    sample = replace(request, heads=measurer.sampled_heads)
    return fast_error.chosen(measurer.sample(sample), measurer.spec.precision)


def assert_equal(measured: Columns, expected: Columns) -> None:
    """In every column the largest error is a small share of the head's largest logit change."""
    assert measured.keys() == expected.keys()
    for key, columns in measured.items():
        assert set(columns) == set(ABLATION_COLUMNS)
        largest = expected[key]["logit_change"].abs().max().item()
        for name, values in columns.items():
            assert values.dtype == torch.float32
            error = (values - expected[key][name]).abs().max().item()
            assert error < FP32_BOUND * largest, f"{name} of {key}: {error} of {largest}"


def assert_clean_facts(measurer: Measurer, expected: Truth) -> None:
    facts = measurer.clean(expected.tokens)
    for name in ("logit", "logit_bias", "ln_scale", "head_effects", "mlp_effects"):
        right: Tensor = getattr(expected.clean, name)
        error = (getattr(facts, name) - right).abs().max()
        assert error < 3e-5, f"{name}: {error}"
    mean_z = facts.z_sum / expected.tokens.size
    assert facts.z_sum.dtype == torch.float64
    torch.testing.assert_close(mean_z, expected.mean_z, rtol=0, atol=1e-5)

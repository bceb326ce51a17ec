"""What bf16 may cost, and that a layer which would pay more is measured in fp32."""

import pytest
import torch

from selfrepair_assets.measurement.ablations import ABLATIONS
from selfrepair_assets.measurement.engine import bf16_error
from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.model.precision import FIRST_POSITIONS
from tests.helpers.models.engine_truth import (
    PERTURBATION,
    ablate,
    assert_equal,
    choose_precision,
    loaded,
    request_of,
    spec_of,
    truth,
)

BF16_BOUND = 2e-2  # norm of the error by norm of the logit change


@pytest.mark.parametrize("name", PERTURBATION)
def test_bf16_keeps_its_bound_on_every_layer(name: str) -> None:
    expected = truth(name)
    spec = spec_of(precision="bf16")
    sample = request_of(expected).in_sequences(0, 2)
    precision, errors = choose_precision(Measurer(loaded(name), spec), sample)
    measured = ablate(Measurer(loaded(name), spec, precision), expected)
    n_layers = loaded(name).n_layers
    for layer in range(n_layers):
        for ablation in ABLATIONS:
            of_layer = [key for key in measured if key[0] == ablation and key[1].layer == layer]
            right = torch.stack([expected.columns[key]["logit_change"] for key in of_layer])
            ours = torch.stack([measured[key]["logit_change"] for key in of_layer])
            relative = ((ours - right).norm() / right.norm()).item()
            assert relative < BF16_BOUND, f"{ablation} in layer {layer}: {relative}"
    assert len(precision) == len(errors) == n_layers
    assert precision[-1] == "bf16"  # the last layers are what it is for
    # Measured, not assumed; a parallel model's last layer has no product after the ablated head.
    assert all(error is not None and error > 1e-5 for error in errors[:-1])


def test_a_layer_that_bf16_cannot_measure_is_measured_in_fp32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bf16_error, "BF16_ERROR_BOUND", 1e-6)
    expected = truth("llama")
    spec = spec_of(precision="bf16")
    precision, errors = choose_precision(Measurer(loaded("llama"), spec), request_of(expected))
    assert precision == ["fp32"] * 3
    assert all(error is not None and error > 1e-6 for error in errors)
    assert_equal(ablate(Measurer(loaded("llama"), spec, precision), expected), expected.columns)


def test_the_first_positions_are_never_in_bf16() -> None:
    expected = truth("llama")
    exact, fast = (
        ablate(Measurer(loaded("llama"), spec_of(), [precision] * 3), expected)
        for precision in ("fp32", "bf16")
    )
    for key, columns in exact.items():
        for name, values in columns.items():
            difference = (fast[key][name] - values).abs()
            assert difference[..., :FIRST_POSITIONS].max() <= 1e-6, f"{name} of {key}"
    assert any((fast[key]["logit_change"] != exact[key]["logit_change"]).any() for key in exact)

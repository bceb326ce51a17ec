"""What bf16 and tf32 may cost, and that a layer which would pay more is measured in fp32."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from selfrepair_assets.measurement.ablations import ABLATIONS
from selfrepair_assets.measurement.engine import fast_error
from selfrepair_assets.measurement.engine.fast_error import ERROR_BOUND
from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.engine.results import KeptRows, MeasuredHeads
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model import models
from selfrepair_assets.measurement.products import precision as products
from selfrepair_assets.measurement.products.precision import FIRST_POSITIONS
from tests.helpers.models.engine_truth import (
    BF16_BOUND,
    PERTURBATION,
    Truth,
    ablate,
    assert_equal,
    choose_precision,
    loaded,
    request_of,
    spec_of,
    truth,
)
from tests.helpers.models.families import FAMILIES


@pytest.fixture
def tf32_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU's product of operands that are rounded to TF32 is what a GPU's is: sums are in fp32."""
    monkeypatch.setattr(models, "has_tf32", lambda device: True)


def test_operands_are_rounded_to_the_nearest_number_of_tf32() -> None:
    step = 2.0**-10  # of numbers from 1 to 2
    x = torch.tensor([1.0, 1 + 0.49 * step, 1 + 0.51 * step, -1 - 0.51 * step, 3e-39, 0.0])
    right = torch.tensor([1.0, 1.0, 1 + step, -1 - step, 3e-39, 0.0])
    assert torch.allclose(products._nearest_tf32(x), right, rtol=1e-7, atol=2.0**-137)
    found = products._nearest_tf32(torch.randn(10_000, generator=torch.Generator().manual_seed(0)))
    assert ((found.view(torch.int32) & 0x1FFF) == 0).all()


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.usefixtures("tf32_here")
def test_tf32_keeps_its_bound_on_every_layer(name: str) -> None:
    check_bound(name, "tf32", 2 * ERROR_BOUND["tf32"])
    assert torch.get_float32_matmul_precision() == "highest"


def test_tf32_is_refused_where_the_device_has_none() -> None:
    with pytest.raises(InputError, match="cpu has no TF32, which NVIDIA GPUs have since Ampere"):
        Measurer(loaded("llama"), spec_of(precision="tf32"))


@pytest.mark.parametrize("name", PERTURBATION)
def test_bf16_keeps_its_bound_on_every_layer(name: str) -> None:
    check_bound(name, "bf16", 2 * ERROR_BOUND["bf16"])


def check_bound(name: str, fast: str, bound: float) -> None:
    """bound: of the norm of the error by the norm of the logit change."""
    expected = truth(name)
    spec = spec_of(precision=fast)
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
            assert relative < bound, f"{ablation} in layer {layer}: {relative}"
    assert len(precision) == len(errors) == n_layers
    assert precision[-1] == fast  # the last layers are what it is for
    # Measured, not assumed; a parallel model's last layer has no product after the ablated head.
    assert all(error is not None and error > 1e-5 for error in errors[:-1])


@pytest.mark.parametrize("name", PERTURBATION)
def test_bf16_keeps_its_bound_in_every_column_and_detail_of_each_head(name: str) -> None:
    """Sums over heads and MLPs, each head and MLP, each neuron: by its own size, head by head."""
    expected, model = truth(name), loaded(name)
    request = replace(request_of(expected), kept=every_row(expected), all_neurons=True)
    spec = spec_of(precision="bf16")
    chosen, _ = choose_precision(Measurer(model, spec), request_of(expected).in_sequences(0, 2))
    exact, fast = (
        {(of.ablation, head): changes_of(of, head) for of in results for head in of.heads}
        for results in (Measurer(model, spec, p).ablate(request) for p in (None, chosen))
    )
    assert exact.keys() == fast.keys() == expected.columns.keys()
    seen = 0.0
    for key, changes in exact.items():
        for quantity, right in changes.items():
            error = (fast[key][quantity] - right).norm().item()
            assert error <= BF16_BOUND * right.norm().item(), f"{quantity} of {key}"
            seen = max(seen, error)
    assert seen > 0


def test_sums_that_are_kept_in_fp32_err_less() -> None:
    assert products.fast_precisions("bf16", torch.device("cuda")) == ("bf16_fp32",)
    assert products.fast_precisions("fp32", torch.device("cpu")) == ()
    generator = torch.Generator().manual_seed(0)
    weight, delta = (torch.randn(shape, generator=generator) for shape in ((64, 256), (2, 5, 256)))
    linear = products.LinearMap(weight, torch.zeros(64))
    right = delta.double() @ weight.double().T
    errors = {
        precision: ((linear.of_change(delta, precision) - right).norm() / right.norm()).item()
        for precision in ("fp32", "bf16_fp32", "bf16")
    }
    # Of three roundings (operands and result) there are two; none where a CPU has no bf16.
    assert errors["fp32"] < 1e-6
    assert errors["bf16_fp32"] < 0.9 * errors["bf16"]
    assert errors["bf16"] < 4e-3
    assert torch.get_float32_matmul_precision() == "highest"


def test_tf32_is_asked_for_within_its_product_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def product(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        asked.append(torch.get_float32_matmul_precision())
        return rows @ weight.T

    monkeypatch.setattr(products, "linear", product)
    linear, delta = products.LinearMap(torch.randn(3, 4), torch.zeros(3)), torch.randn(2, 5, 4)
    linear.of_change_by_position(delta, "tf32")
    assert asked == ["high", "highest"]  # all positions, and then the first in fp32
    assert torch.get_float32_matmul_precision() == "highest"


def every_row(expected: Truth) -> KeptRows:
    heads = {head for _, head in expected.columns}
    n, pos = expected.tokens[:, 1:].shape
    rows = np.array([(h.layer, h.head, s, p) for h in heads for s in range(n) for p in range(pos)])
    return KeptRows(*rows.T)


def changes_of(found: MeasuredHeads, head: Head) -> dict[str, torch.Tensor]:
    """All that the ablation of a head changes, and what each component and neuron does of it."""
    assert found.kept is not None
    assert found.details is not None
    i, rows = found.heads.index(head), torch.from_numpy(found.kept.head == head.head)
    changes = {name: column[i] for name, column in found.columns.items()}
    changes["direct_effect_ablated"] = changes["direct_effect_ablated"] - changes["direct_effect"]
    details = {name: values[rows] for name, values in found.details.items()}
    neurons = details.pop("direct_effects_ablated") - details.pop("direct_effects")
    return changes | details | {"neurons": neurons}


def test_a_layer_that_bf16_cannot_measure_is_measured_in_fp32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(fast_error.ERROR_BOUND, "bf16", 1e-6)
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


def test_what_bf16_rounds_of_the_last_product_is_not_in_its_effect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = loaded("llama").folded
    assert model is not None
    expected, fast = truth("llama"), Measurer(loaded("llama"), spec_of(), ["bf16"] * 3)
    before = ablate(fast, expected)
    last = model.blocks[-1].mlp_out
    monkeypatch.setitem(vars(last), "weight_bf16", last.weight_bf16 * 1.1)
    after = ablate(fast, expected)
    effects = ("self_repair_from_heads", "self_repair_from_mlps", "self_repair_from_last_mlp")
    for key, columns in before.items():
        for name in effects:
            assert torch.equal(torch.as_tensor(after[key][name]), torch.as_tensor(columns[name]))
    assert any((after[k]["ln_scale_ablated"] != before[k]["ln_scale_ablated"]).any() for k in after)

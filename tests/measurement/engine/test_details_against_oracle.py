"""Who repaired, which neurons, and self-reinforcement: both engines against the oracle."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from selfrepair_assets.measurement.ablations import ABLATIONS
from selfrepair_assets.measurement.engine.kept_details import curve_counts
from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.engine.results import KeptRows
from selfrepair_assets.measurement.heads import Head
from tests.helpers.models.engine_truth import (
    FP32_BOUND,
    NOT_WRAPPED,
    PERTURBATION,
    loaded,
    request_of,
    spec_of,
    truth,
)
from tests.helpers.models.families import EXPERTS, FALLBACK_ONLY, random_model
from tests.helpers.models.oracle import Oracle

MEASURED = [*PERTURBATION, *FALLBACK_ONLY, *EXPERTS]
HEADS = [Head(0, 1), Head(0, 3), Head(1, 2), Head(2, 0)]
ROWS = KeptRows(  # in another order than they are measured, several of a head, none of Head(0, 3)
    layer=np.array([1, 0, 2, 0, 1]),
    head=np.array([2, 1, 0, 1, 2]),
    sequence=np.array([0, 2, 1, 0, 2]),
    position=np.array([3, 10, 0, 5, 7]),
)


HOOKED = [*FALLBACK_ONLY, *EXPERTS, *(name for name in PERTURBATION if name not in NOT_WRAPPED)]


@pytest.mark.parametrize(
    ("name", "hooked", "batch_size"),
    [
        *((name, True, 3) for name in HOOKED),
        *((name, False, batch_size) for name in PERTURBATION for batch_size in (1, 3)),
    ],
)
def test_component_and_neuron_changes_equal_the_oracle(
    name: str, hooked: bool, batch_size: int
) -> None:
    model = loaded(name, hooked=True) if hooked else loaded(name)
    expected, oracle = truth(name), Oracle(random_model(name))
    tokens, partners = (torch.from_numpy(t).long() for t in (expected.tokens, expected.partners))
    clean = oracle.run(tokens)
    request = replace(request_of(expected, HEADS), kept=ROWS, all_neurons=True)
    measurer = Measurer(model, spec_of(batch_size=batch_size))
    assert measurer.has_neurons == (name not in EXPERTS)
    results = measurer.ablate(request)
    seen = 0
    for found in results:
        assert found.kept is not None
        assert found.details is not None
        for i in range(len(found.kept)):
            row, head = found.kept, Head(int(found.kept.layer[i]), int(found.kept.head[i]))
            at = int(row.sequence[i]), int(row.position[i])
            ablated = oracle.ablated_run(
                tokens,
                found.ablation,
                head.layer,
                head.head,
                partner_tokens=partners,
                mean_z=expected.mean_z,
            )
            changes = oracle.changes(ablated, clean, tokens)
            details = {column: values[i] for column, values in found.details.items()}
            n_heads, n_mlps = len(details["head_changes"]), len(details["mlp_changes"])
            first_mlp = head.layer + model.parallel_attention
            assert n_heads == (oracle.n_layers - 1 - head.layer) * oracle.n_heads
            assert n_mlps == oracle.n_layers - first_mlp
            right = {
                "head_changes": changes.heads[head.layer + 1 :, :, *at].flatten(),
                "mlp_changes": changes.mlps[first_mlp:, *at],
            }
            if n_mlps and measurer.has_neurons:
                right["direct_effects"] = oracle.neuron_effects(clean, clean, tokens)[at]
                right["direct_effects_ablated"] = oracle.neuron_effects(ablated, clean, tokens)[at]
            bound = FP32_BOUND * expected.columns[found.ablation, head]["logit_change"].abs().max()
            for column, values in right.items():
                assert details[column].shape == values.shape
                error = (details[column] - values).abs()
                assert error.numel() == 0 or error.max() < bound, f"{column} of {head}"
            seen += 1
    assert seen == len(ROWS) * len(ABLATIONS)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "nemotron"])
def test_the_summary_of_the_neurons_equals_the_oracle(name: str) -> None:
    """The most repairing neurons, and the cumulative share at each number that is measured."""
    expected, oracle = truth(name), Oracle(random_model(name))
    tokens, partners = (torch.from_numpy(t).long() for t in (expected.tokens, expected.partners))
    clean = oracle.run(tokens)
    request = replace(
        request_of(expected, HEADS[:2]), ablations=["resample"], kept=ROWS.of_heads([Head(0, 1)])
    )
    (found,) = Measurer(loaded(name), spec_of(batch_size=3)).ablate(request)
    assert found.kept is not None
    assert found.details is not None
    assert len(found.kept) == 2
    ablated = oracle.ablated_run(
        tokens, "resample", 0, 1, partner_tokens=partners, mean_z=expected.mean_z
    )
    before, after = (oracle.neuron_effects(run, clean, tokens) for run in (clean, ablated))
    for i in range(len(found.kept)):
        at = int(found.kept.sequence[i]), int(found.kept.position[i])
        change = after[at] - before[at]
        side = 1 if found.columns["direct_effect"][0][at] >= 0 else -1
        falling = (side * change).sort(descending=True).values.abs()
        share = torch.cat([torch.zeros(1), falling.cumsum(0) / falling.sum()])
        counts = curve_counts(len(change))
        assert (found.details["cumulative_share"][i] - share[counts]).abs().max() < 1e-4
        first = found.details["direct_effects_ablated"][i] - found.details["direct_effects"][i]
        shares = (first.abs() / found.details["absolute_change"][i]).cumsum(0)
        assert (shares - share[1 : len(first) + 1]).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("name", "hooked"),
    [*((name, False) for name in MEASURED), *((name, True) for name in ("gemma2", "granite"))],
)
def test_self_reinforcement_equals_the_oracle(name: str, hooked: bool) -> None:
    expected, oracle = truth(name), Oracle(random_model(name))
    tokens = torch.from_numpy(expected.tokens).long()
    scales = (1.0, 5.0)
    measurer = Measurer(loaded(name, hooked=hooked), spec_of(batch_size=2))
    for found in measurer.reinforce(expected.tokens, HEADS, scales):
        columns = found.columns
        for i, head in enumerate(found.heads):
            for j, scale in enumerate(scales):
                right = oracle.reinforce(tokens, head.layer, head.head, scale)
                after = right["direct_effect_after"]
                bound = FP32_BOUND * (after - right["direct_effect"]).abs().max()
                assert (columns["direct_effect"][i] - right["direct_effect"]).abs().max() < bound
                assert (columns["direct_effect_after"][j, i] - after).abs().max() < bound
                error = (columns["ln_scale_after"][j, i] / right["ln_scale_after"] - 1).abs()
                assert error.max() < 1e-5

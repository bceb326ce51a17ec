"""The activations in our own words are those that transformers computes."""

import pytest
import torch
from transformers.activations import ACT2FN

from selfrepair_assets.measurement.model.folded_model import activation

FAR = torch.tensor([-1e4, -200.0, -20.0, -1e-6, 0.0, 1e-6, 20.0, 200.0, 1e4])


@pytest.mark.parametrize(
    "name", ["relu", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "silu", "swish"]
)
def test_an_activation_is_transformers_own(name: str) -> None:
    x = torch.cat([FAR, torch.randn(10_000, generator=torch.Generator().manual_seed(0)) * 4])
    before = x.clone()
    ours, right = activation(name)(x), ACT2FN[name](x.double())
    assert torch.equal(x, before)
    assert (ours - right).abs().max() < 2e-6
    torch.testing.assert_close(ours[: len(FAR)].double(), right[: len(FAR)], rtol=1e-6, atol=1e-7)

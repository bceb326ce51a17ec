"""Attention against its formula, for every number of positions; and what a step computes of it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from selfrepair_assets.measurement.engine.change import CleanRun, follow_block
from selfrepair_assets.measurement.engine.clean_run import (
    CPU_POSITIONS,
    attend,
    pattern_of,
    shared_keys,
    split_heads,
)
from tests.helpers.models.engine_truth import PERTURBATION, loaded
from tests.helpers.models.families import random_tokens


@pytest.mark.parametrize("positions", [1, CPU_POSITIONS - 1, CPU_POSITIONS, CPU_POSITIONS + 1])
@pytest.mark.parametrize("name", PERTURBATION)
def test_attention_is_its_formula_for_every_number_of_positions(name: str, positions: int) -> None:
    """Positions of zeros that fill up the last ones are seen by none, and are not given back."""
    model = loaded(name).folded
    assert model is not None
    for block in model.blocks:
        qkv = torch.randn(3, positions, len(block.qkv.weight))
        rotary = None if block.rotary is None else block.rotary(positions)
        q, k, v = split_heads(model, block, qkv, rotary)
        pattern = pattern_of(model, block, q @ shared_keys(model, k).transpose(-1, -2))
        z = (pattern @ shared_keys(model, v)).transpose(1, 2).flatten(2)
        torch.testing.assert_close(attend(model, block, qkv, rotary), z)


def test_a_step_takes_the_rotary_embeddings_tables_of_the_clean_run() -> None:
    """A compiled step would compute them anew, for each row and head."""

    def computed(_: int) -> tuple[Tensor, Tensor]:
        raise AssertionError

    model = loaded("gpt_neox").folded
    assert model is not None
    at = CleanRun.of(model, random_tokens(2, 12)).blocks[-1]
    assert at.block.rotary is not None
    delta = torch.randn(3, 2, 11, model.d_model)
    expected = follow_block(at, delta.clone(), "fp32", False)
    without = replace(at, block=replace(at.block, rotary=computed))
    followed = follow_block(without, delta.clone(), "fp32", False)
    assert torch.equal(followed.resid_post, expected.resid_post)

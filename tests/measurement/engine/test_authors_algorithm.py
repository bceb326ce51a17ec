"""What the engine is timed against must itself be right, and the benchmark must compare values."""

from pathlib import Path

import numpy as np
import pytest
import torch

from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model.models import load_model
from tests.benchmarks import engine_speed
from tests.benchmarks.authors_algorithm import AuthorsAlgorithm
from tests.helpers.models.families import random_model, random_tokens, save
from tests.helpers.models.oracle import Oracle

tokens = random_tokens(3, 12)
corrupted = tokens.roll(1, 0)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "llama"])
def test_authors_algorithm_equals_the_oracle(name: str, tmp_path: Path) -> None:
    algorithm = AuthorsAlgorithm(load_model(str(save(name, tmp_path)), device="cpu").bridge)
    algorithm.start(tokens, corrupted)
    oracle = Oracle(random_model(name))
    for head in (Head(0, 3), Head(1, 0), Head(2, 2)):
        expected = oracle.ablate(
            tokens, "resample", head.layer, head.head, partner_tokens=corrupted
        )
        for column, values in algorithm.ablate(head).items():
            torch.testing.assert_close(values.double(), expected[column], rtol=0, atol=3e-5)


def test_benchmark_times_every_way_and_compares_their_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_model(str(save("llama", tmp_path)), device="cpu")
    timed, layer_precision = engine_speed.compare(loaded, tokens.numpy(), 2, 1)
    assert len(layer_precision) == 3
    assert all(len(way.rates) == 2 and min(way.rates) > 0 for way in timed.values())
    assert len(timed["authors"].logit_changes) == 6  # another head of each layer in each round
    assert len(timed["fp32"].logit_changes) == 12
    errors = engine_speed.relative_errors(
        timed["fp32"].logit_changes, timed["authors"].logit_changes
    )
    assert set(errors) == {0, 1, 2}
    assert max(errors.values()) < 1e-4
    assert "| fp32 | " in engine_speed.table(timed)
    assert "round 2 of 2" in capsys.readouterr().out


def test_relative_error_by_hand() -> None:
    reference = {Head(0, 0): np.array([3.0, 0.0]), Head(0, 1): np.array([0.0, 4.0])}
    measured = {Head(0, 0): np.array([3.0, 0.0]), Head(0, 1): np.array([0.0, 4.5])}
    assert engine_speed.relative_errors(measured, reference) == {0: 0.1}

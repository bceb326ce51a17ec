"""What the engine is timed against must itself be right."""

from pathlib import Path

import pytest
import torch

from selfrepair_assets.bench.authors_algorithm import AuthorsAlgorithm
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model.models import load_model
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

"""The kinds of ablation by hand, and that everything which must know a kind does."""

import re
from dataclasses import replace
from importlib import resources
from typing import Any

import numpy as np
import pytest
import torch

from selfrepair_assets.measurement.ablations import ABLATIONS, LayerZ, any_needs, in_order
from selfrepair_assets.measurement.engine.interface import AblationRequest
from selfrepair_assets.measurement.heads import Head
from tests.helpers.runs.cli_runs import python

Z = LayerZ(  # one sequence of two positions, two heads of d_head 1
    own=torch.tensor([[[[1.0], [2.0]], [[3.0], [4.0]]]]),
    partner=torch.tensor([[[[5.0], [6.0]], [[7.0], [8.0]]]]),
    mean=torch.tensor([[9.0], [10.0]]),
)
REPLACED = {
    "resample": [[[[5], [6]], [[7], [8]]]],
    "mean": [[[[9], [10]], [[9], [10]]]],
    "zero": [[[[0], [0]], [[0], [0]]]],
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_replacement_by_hand(name: str) -> None:
    replacement = ABLATIONS[name].replacement(Z)
    assert replacement.expand_as(Z.own).tolist() == REPLACED[name]
    assert replacement.dtype == torch.float32
    assert Z.own.flatten().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_request_without_what_its_ablation_needs_is_refused(name: str) -> None:
    tokens = np.zeros((2, 3), dtype=np.int32)
    mean_z = np.zeros((1, 1, 1), dtype=np.float32)
    whole = AblationRequest(tokens, [Head(0, 0)], [name], partner_tokens=tokens, mean_z=mean_z)
    for need in ("partner_tokens", "mean_z"):
        without: dict[str, Any] = {need: None}
        if any_needs([name], need):
            with pytest.raises(ValueError, match=f"{name} ablation needs {need}"):
                replace(whole, **without)
        else:
            replace(whole, **without)


def test_lists_have_one_order_and_keep_what_is_not_known() -> None:
    assert in_order(["zero", "later", "resample", "earlier"]) == [
        "resample", "zero", "earlier", "later",
    ]  # fmt: skip
    assert len({kind.color for kind in ABLATIONS.values()}) == len(ABLATIONS)


def test_the_check_of_a_runs_row_knows_every_kind() -> None:
    check = resources.files("selfrepair.sql").joinpath("checks/run_fits_its_facts.sql").read_text()
    (known,) = re.findall(r"list_has_all\(\[(.*?)\], ablations\)", check)
    assert known == ", ".join(f"'{name}'" for name in ABLATIONS)


def test_the_kinds_are_read_without_torch() -> None:
    read = "import sys, selfrepair_assets.measurement.ablations; print('torch' in sys.modules)"
    assert python(read) == "False\n"

"""A device whose memory is too small: what is left is measured in halves, and no number changes."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from selfrepair_assets.measurement.ablations import ABLATIONS
from selfrepair_assets.measurement.engine import measure, perturbation
from selfrepair_assets.measurement.engine.change import CleanRun
from selfrepair_assets.measurement.engine.hooked import HookedEngine
from selfrepair_assets.measurement.engine.interface import AblationRequest
from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.engine.perturbation import PerturbationEngine
from selfrepair_assets.measurement.engine.results import KeptRows, MeasuredHeads
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model.models import AtMost
from tests.helpers.models.engine_truth import loaded, spec_of, truth
from tests.helpers.models.families import random_tokens

N, LENGTH = 5, 12
HEADS = [Head(0, 1), Head(0, 3), Head(1, 0), Head(1, 2), Head(2, 0), Head(2, 3)]
ROWS = KeptRows(*(np.array(at) for at in ([0, 1, 0, 2], [3, 2, 1, 0], [4, 0, 2, 3], [1, 10, 0, 5])))


@dataclass
class Small:
    """A memory that holds the clean run of so many sequences, and so many rows."""

    sequences: int = 100
    rows: int = 100
    full_at: int = -1  # the propagation at which it is full for once
    refused: int = 0
    propagated: int = 0

    def hold(self, fits: bool) -> None:
        if not fits:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Small:
    memory, clean_of, propagate = Small(), CleanRun.of, perturbation.propagate

    def of(model: Any, tokens: Tensor) -> CleanRun:
        memory.hold(len(tokens) <= memory.sequences)
        return clean_of(model, tokens)

    def limited(clean: CleanRun, ablated: Any, *more: Any) -> dict[str, Tensor]:
        memory.propagated += 1
        memory.hold(len(ablated) * len(clean.direction) <= memory.rows)
        memory.hold(memory.propagated != memory.full_at)
        return propagate(clean, ablated, *more)

    monkeypatch.setattr(CleanRun, "of", of)
    monkeypatch.setattr(perturbation, "propagate", limited)
    return memory


def measurer(name: str = "llama", **choices: Any) -> Measurer:
    return Measurer(replace(loaded(name), at_most=AtMost()), spec_of(batch_size=N, **choices))


def request() -> AblationRequest:
    tokens = random_tokens(N, LENGTH, seed=1)
    mean_z = truth("llama").mean_z.float().numpy()
    partners = tokens.roll(2, 0).numpy()
    return AblationRequest(tokens.numpy(), HEADS, list(ABLATIONS), partners, mean_z, ROWS)


def by_place(part: MeasuredHeads) -> dict[tuple[int, ...], dict[str, Tensor]]:
    """The details of each kept row."""
    assert part.kept is not None
    assert part.details is not None
    rows = zip(part.kept.head, part.kept.sequence, part.kept.position, strict=True)
    return {
        tuple(map(int, row)): {name: column[i] for name, column in part.details.items()}
        for i, row in enumerate(rows)
    }


def assert_same(found: list[MeasuredHeads], expected: list[MeasuredHeads]) -> None:
    for part, right in zip(found, expected, strict=True):
        assert (part.ablation, part.heads) == (right.ablation, right.heads)
        for name, column in right.columns.items():
            torch.testing.assert_close(part.columns[name], column, rtol=0, atol=1e-6)
        details, right_details = by_place(part), by_place(right)
        assert details.keys() == right_details.keys()
        for place, columns in right_details.items():
            for name, column in columns.items():
                torch.testing.assert_close(details[place][name], column, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("limits", "sequences"),
    [
        ({"sequences": 3}, 2),
        ({"sequences": 1}, 1),
        ({"rows": 9}, 2),  # two heads of five sequences are too much
        ({"rows": 1}, 1),
        ({"full_at": 5}, 2),  # in the middle: what was answered by then stays
        ({"full_at": 9}, 2),
        ({"sequences": 2, "full_at": 3}, 1),
    ],
)
def test_what_is_left_is_measured_in_halves(
    limits: dict[str, int], sequences: int, small: Small
) -> None:
    expected = list(measurer().ablate(request()))
    small.propagated = 0
    for name, limit in limits.items():
        setattr(small, name, limit)
    ours, told = measurer(), list[int]()
    assert_same(list(ours.ablate(request(), told.append)), expected)
    assert sum(told) == len(ABLATIONS) * len(HEADS) * N * (LENGTH - 1)
    assert small.refused
    assert ours.batch_size(LENGTH) == sequences
    refused = small.refused
    assert_same(list(ours.ablate(request())), expected)
    assert small.refused == refused, "what was too much is not tried again"


def test_one_row_that_does_not_fit_ends_it_in_one_line(small: Small) -> None:
    small.rows = 0
    with pytest.raises(InputError, match=r"too small for one sequence of .* --sequence-length"):
        list(measurer().ablate(request()))


def limited_to(n: int, method: Callable[..., Any]) -> Callable[..., Any]:
    def of(engine: Any, tokens: Any, *more: Any, **named: Any) -> Any:
        if len(tokens) > n:
            raise RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)")
        return method(engine, tokens, *more, **named)

    return of


@pytest.mark.parametrize("n", [1, 2])
def test_clean_runs_and_fed_heads_are_halved_too(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = random_tokens(N, LENGTH).numpy()
    facts, fed = measurer().clean(tokens), list(measurer().reinforce(tokens, HEADS, (1.0, 3.0)))
    for name in ("clean_facts", "reinforce_heads"):
        limited = limited_to(n, getattr(PerturbationEngine, name))
        monkeypatch.setattr(PerturbationEngine, name, limited)
    told: list[int] = []
    for name, value in vars(measurer().clean(tokens, told.append)).items():
        torch.testing.assert_close(value, getattr(facts, name), rtol=1e-6, atol=1e-6)
    assert sum(told) == N * (LENGTH - 1)
    again = list(measurer().reinforce(tokens, HEADS, (1.0, 3.0), told.append))
    assert sum(told) == N * (LENGTH - 1) * (1 + 2 * len(HEADS))
    for part, right in zip(again, fed, strict=True):
        torch.testing.assert_close(part.columns, right.columns)


def test_the_hooked_engine_is_halved_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Measurer(loaded("llama", hooked=True), spec_of(batch_size=N))  # wrapped once for all
    for limit in ("sequences", "rows"):  # which are learned: as before, for the tests after
        monkeypatch.setattr(ours.loaded.at_most, limit, sys.maxsize)
    expected = list(ours.ablate(request()))
    monkeypatch.setattr(HookedEngine, "run", limited_to(2, HookedEngine.run))
    assert_same(list(ours.ablate(request())), expected)


def test_another_error_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(perturbation, "propagate", broken)
    with pytest.raises(RuntimeError, match="device-side assert"):
        list(measurer().ablate(request()))


def test_an_answer_is_given_when_the_device_has_the_next_one() -> None:
    log: list[str] = []

    class Copy:
        def __init__(self, name: str) -> None:
            self.name = name

        def arrived(self) -> str:
            log.append(f"{self.name} is waited for")
            return self.name

    def launched() -> Any:
        for name in "abc":
            log.append(f"{name} is begun")
            yield Copy(name)

    assert list(measure._one_behind(launched())) == ["a", "b", "c"]  # type: ignore[comparison-overlap]
    assert log == [
        *("a is begun", "b is begun", "a is waited for", "c is begun"),
        *("b is waited for", "c is waited for"),
    ]


def test_a_small_run_is_not_foretold_to_fill_a_large_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Measurer, "_free_memory", lambda _: 10**13)
    specs = [spec_of(tokens=12 * n) for n in (8, 80)]  # in shards of one sequence, and of ten
    one, many = (Measurer(loaded("llama"), spec) for spec in specs)
    engine = one._engine
    row, sequence = engine.bytes_per_row(12), engine.bytes_per_sequence(12)
    assert one.working_bytes(12) == sequence + one.loaded.n_heads * row
    assert many.working_bytes(12) == 10 * (sequence + many.loaded.n_heads * row)

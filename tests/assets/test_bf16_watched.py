"""bf16 is watched on the run: a layer that leaves its bound ends in fp32, in all shards."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.engine import fast_error
from selfrepair_assets.measurement.engine.fast_error import ERROR_BOUND, relative_error
from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.steps import head_ablations, precision
from selfrepair_assets.steps.published import publish_run
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from tests.helpers.runs.asset_runs import FACTS, materialize, measured, published, same

BOUND = ERROR_BOUND["bf16"]
SHARD = 3  # sequences, of 12
LEAVES = 1  # the layer that leaves the bound, in the second shard
ABLATIONS = ("resample", "zero")


def of(*layers: tuple[float, float]) -> np.ndarray:
    """What was seen of one ablation: of each layer the squares of the error and of the change."""
    return np.array([layers])


def kept(sample: np.ndarray, watched: Iterable[np.ndarray | None]) -> fast_error.LayerPrecision:
    return fast_error.kept({"bf16": sample}, watched, "bf16")


def test_what_was_seen_adds_up_in_the_shards_order() -> None:
    bound = BOUND**2
    sample = of((0.25 * bound, 1), (0.25 * bound, 1), (2 * bound, 1), (0, 0))
    first = fast_error.chosen({"bf16": sample}, "bf16")
    assert first.layers == ["bf16", "bf16", "fp32", "fp32"]  # the last one was not seen at all
    assert first.errors == [0.5e-2, 0.5e-2, pytest.approx(2**0.5 * 1e-2), None]
    calm, loud = (of((0.25 * bound, 1), (x * bound, 1), (0, 0), (0, 0)) for x in (0.25, 3.75))
    after = kept(sample, [calm, loud, calm, calm, calm, calm])
    assert after.layers == ["bf16", "fp32", "fp32", "fp32"]
    # It left with (0.25 + 0.25 + 3.75) / 3 of the bound's square, and did not come back.
    assert after.errors[1] == pytest.approx((4.25 / 3) ** 0.5 * 1e-2)
    assert after.errors[0] == pytest.approx(0.5e-2)
    # A shard that is not there yet hides those after it: they may be there in any order.
    assert kept(sample, [calm, None, loud]) == kept(sample, [calm, None, None])
    assert kept(sample, [calm, None, loud]).layers[1] == "bf16"


def test_a_layer_that_bf16_cannot_measure_keeps_its_sums_in_fp32_where_that_is_enough() -> None:
    bound = BOUND**2
    coarse = of((0.25 * bound, 1), (2 * bound, 1), (4 * bound, 1))
    fine = of((0.1 * bound, 1), (0.25 * bound, 1), (2 * bound, 1))
    sample = {"bf16": coarse, "bf16_fp32": fine}
    first = fast_error.chosen(sample, "bf16")
    assert first.layers == ["bf16", "bf16_fp32", "fp32"]
    assert first.errors == [0.5e-2, 0.5e-2, pytest.approx(2**0.5 * 1e-2)]
    # What is seen later adds to what the sample showed of the layer's own precision.
    later = of((0.25 * bound, 1), (1.2 * bound, 1), (0, 0))
    after = fast_error.kept(sample, [later, later], "bf16")
    assert after.layers == ["bf16", "bf16_fp32", "fp32"]
    assert after.errors == [0.5e-2, pytest.approx((2.65 / 3) ** 0.5 * 1e-2), first.errors[2]]
    assert fast_error.kept(sample, [later] * 6, "bf16").layers == ["bf16", "fp32", "fp32"]


def test_the_error_is_the_worst_ablation_and_no_number_is_too_large() -> None:
    seen = np.array([[[1e-6, 1.0], [0, 0]], [[4e-6, 1.0], [np.nan, 1.0]]])
    assert relative_error(seen)[0] == pytest.approx(2e-3)
    assert fast_error.chosen({"bf16": seen}, "bf16").layers == ["bf16", "fp32"]
    quiet = np.array([[[0, 1.0], [0, 1.0]], [[0, 1.0], [0, 1.0]]])
    assert kept(quiet, [seen]).layers == ["bf16", "fp32"]


def test_all_heads_take_turns() -> None:
    heads = [Head(layer, head) for layer in (0, 1, 2) for head in range(12)]
    turns = [
        fast_error.watched_heads(heads, ["bf16", "fp32", "bf16"], shard, 13) for shard in range(6)
    ]
    assert {len(turn) for turn in turns} == {4}  # 2 of 156 rows, in each of two layers
    assert sorted(h for turn in turns for h in turn) == [h for h in heads if h.layer != 1]
    few = fast_error.watched_heads(heads[:2], ["bf16"] * 3, 1, 1)
    assert few == [Head(0, 1)]
    many = fast_error.watched_heads(heads, ["bf16"] * 3, 0, 1000)
    assert many == heads


@pytest.mark.parametrize("size", [1, 13, 64, 100, 1000])
def test_a_64th_of_a_shard_is_watched_and_all_its_sequences_take_turns(size: int) -> None:
    heads = [Head(0, head) for head in range(12)]
    seen: set[int] = set()
    for shard in range(size):
        sequences = fast_error.watched_sequences(shard, size)
        watched = len(sequences) * len(fast_error.watched_heads(heads, ["bf16"], shard, size))
        assert len(set(sequences)) == len(sequences)
        assert watched == pytest.approx(12 * size / 64, rel=0.3, abs=1)
        seen |= set(sequences)
    assert seen == set(range(size))


@pytest.fixture(autouse=True)
def later_sequences_are_hard(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second shard and the third, bf16 is a hundred times worse on one layer."""
    measure, watch = Measurer.errors_of_fast, precision.watch
    number = [0]

    def hard(self: Measurer, *args: Any) -> list[np.ndarray]:
        found = measure(self, *args)
        for squares in found if number[0] in (1, 2) else ():
            squares[:, LEAVES, 0] *= 1e4
        return found

    def numbered(folder: RunFolder, shard: Any) -> Any:
        number[0] = folder.shards.index(shard)
        try:
            return watch(folder, shard)
        finally:
            number[0] = 0

    monkeypatch.setattr(Measurer, "errors_of_fast", hard)
    monkeypatch.setattr(head_ablations, "watch", numbered)


def run(root: Path, model: Path, instance: dg.DagsterInstance, **choices: Any) -> bool:
    defaults: dict[str, Any] = {
        "shard_sequences": SHARD,
        "precision": "bf16",
        "neuron_heads": f"L{LEAVES}H0,L0H1",
    }
    return materialize(root, model, instance, ablations=ABLATIONS, **(defaults | choices)).success


@pytest.fixture(scope="module")
def exact(
    gpt2: Path, instance: dg.DagsterInstance, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    root = tmp_path_factory.mktemp("exact")
    assert run(root, gpt2, instance, precision="fp32", only=FACTS)
    return measured(root, gpt2)


def assert_left(root: Path, model: Path, exact: dict[str, dict[str, Any]]) -> None:
    """The layer was measured in fp32 everywhere, and the others in bf16."""
    folder = RunFolder(Warehouse(root), str(model))
    reached = precision.layer_precision(folder)
    assert reached.layers == ["bf16", "fp32", "bf16"]
    error = reached.errors[LEAVES]
    assert error is not None
    assert error > BOUND
    assert not precision.superseded(folder)
    found = measured(root, model)
    for table in precision.PRECISE_TABLES:
        there, right = found[table], exact[table]
        in_layer = there["layer"] == LEAVES
        assert in_layer.any(), table
        assert (right["layer"] == there["layer"]).all(), table
        for name in there if table != "neuron_repairs" else ("absolute_change", "net_change"):
            same(there[name][in_layer], right[name][in_layer], f"{table}.{name}")
        files = list((root / "facts" / table).rglob("sequences-*.parquet"))
        assert len(files) == len(folder.shards), table
    others = found["head_ablations"]["layer"] != LEAVES
    columns = (values["head_ablations"]["logit_change"][others] for values in (found, exact))
    there, right = columns
    assert 0 < np.linalg.norm(there - right) < BOUND * np.linalg.norm(right)


def test_a_layer_that_leaves_the_bound_is_measured_anew(
    gpt2: Path, tmp_path: Path, instance: dg.DagsterInstance, exact: dict[str, dict[str, Any]]
) -> None:
    assert run(tmp_path, gpt2, instance)
    assert_left(tmp_path, gpt2, exact)
    [row] = published(tmp_path, "runs")["runs"]
    assert ["bf16", "fp32", "bf16"] in row
    there = {p: p.stat().st_ino for p in (tmp_path / "facts").rglob("sequences-*.parquet")}
    notes = sorted((tmp_path / "runs").rglob("bf16-*.json"))
    assert len(notes) == 1 + 4
    notes[2].unlink()  # of the shard by which the layer left: it is found anew, and so is the rest
    assert run(tmp_path, gpt2, instance)
    assert_left(tmp_path, gpt2, exact)
    again = {p: p.stat().st_ino for p in (tmp_path / "facts").rglob("sequences-*.parquet")}
    assert again.keys() == there.keys(), "the same bytes have the same names"
    assert published(tmp_path, "runs")["runs"] == [row]


class KilledError(WarehouseError):
    """Ends a run at once, as a kill would: a WarehouseError is not retried."""


def killed_after(n: int, work: Callable[..., Any]) -> Callable[..., Any]:
    """A function that ends the run when it has done its work for the n-th time."""
    calls = [0]

    def works(*args: Any, **more: Any) -> Any:
        done = work(*args, **more)
        calls[0] += 1
        if calls[0] == n:
            raise KilledError("killed")
        return done

    return works


@pytest.mark.parametrize("moment", ["noted", "between two tables", "withdrawing", "anew"])
def test_killed_on_the_way_it_ends_the_same(
    moment: str,
    gpt2: Path,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    exact: dict[str, dict[str, Any]],
) -> None:
    assert run(tmp_path, gpt2, instance, only=FACTS[: FACTS.index("head_ablations")])
    measuring = ["head_ablations", "component_changes", "neuron_repairs"]
    with pytest.MonkeyPatch.context() as patch:
        if moment == "noted":  # the sample, the first shard, and the second, by which it leaves
            patch.setattr(RunFolder, "note", killed_after(3, RunFolder.note))
        elif moment == "withdrawing":  # the first of three superseded files is gone
            withdraw = killed_after(1, RunTable.withdraw)
            patch.setattr(RunTable, "withdraw", lambda table, paths: withdraw(table, paths[:1]))
        else:  # 3 tables of 4 shards, then the first shard's again
            n = 5 if moment == "between two tables" else 13
            patch.setattr(RunTable, "write", killed_after(n, RunTable.write))
        assert not run(tmp_path, gpt2, instance, only=measuring)
    folder = RunFolder(Warehouse(tmp_path), str(gpt2))
    assert precision.layer_precision(folder).layers[LEAVES] == "fp32", "it is not noted first"
    if moment != "anew":
        with pytest.raises(WarehouseError, match="a layer has left bf16"):
            publish_run(folder)
    assert run(tmp_path, gpt2, instance, only=FACTS)
    assert_left(tmp_path, gpt2, exact)

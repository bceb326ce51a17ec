"""`--until`: a run stops at the first shard after which its means are sure enough."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.options import Limit
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.steps import until
from selfrepair_assets.steps.clean_run import CLEAN_RUN
from selfrepair_assets.steps.head_ablations import HEAD_ABLATIONS, keep_top_rows
from selfrepair_assets.steps.neuron_changes import neuron_changes
from selfrepair_assets.steps.parts import part_to_publish
from selfrepair_assets.steps.precision import layer_precision
from selfrepair_assets.steps.published import publish_run
from selfrepair_assets.steps.run_spec import prepare, start
from selfrepair_assets.steps.self_reinforcement import SELF_REINFORCEMENT
from selfrepair_assets.steps.sequences import store_sequences
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.step import Step
from selfrepair_assets.steps.sharded.stored_shards import collect
from selfrepair_assets.steps.until import Sureness, stop_if_sure, sureness, sureness_of
from tests.helpers.runs.asset_runs import LENGTH, small_spec

N, SHARD = 24, 2
LIMITS = [Limit.of("0.05"), Limit.of("40%")]


def measure(step: Step, folder: RunFolder) -> None:
    for shard in step.left(folder):
        step.measure(folder, shard, lambda _: None)
    for table in step.tables:
        collect(folder, table, layer_precision(folder) if step.is_run else None)


def errors_of(folder: RunFolder, part: int, limit: Limit) -> list[float]:
    """The standard errors as shares of the limit, head by head, from the shards of a part.

    By specification, section 6: the cut of the top rows moves with the text.
    """
    files = folder.table("head_ablations").shards()
    rows = pd.concat([pq.read_table(path).to_pandas() for path in files])
    rows = rows[rows["sequence"] < part]
    effect = rows["direct_effect"].astype("f8")
    change = rows["direct_effect_ablated"].astype("f8") - effect
    rows = rows.assign(effect=effect, repair=rows["logit_change"].astype("f8") - change)
    found = []
    for _, own in rows.groupby(["ablation", "layer", "head"]):
        order = ["effect", "sequence", "position"]
        own = own.sort_values(order, ascending=[False, True, True]).reset_index()
        k = int(folder.spec.top_fraction * len(own) + 1e-9)
        kept, half = own[:k], max(10, k / 2)
        rank = own.index + 1
        at_cut = own["repair"][(rank > k - half) & (rank <= k + half)].mean()
        of_kept = (kept["repair"] - at_cut).groupby(kept["sequence"]).sum()
        n_of = own.groupby("sequence").size()
        excess = of_kept.reindex(n_of.index, fill_value=0.0)
        excess -= k / len(own) * n_of * (kept["repair"].mean() - at_cut)
        error = np.sqrt(part / (part - 1) * np.square(excess).sum()) / k
        found.append(error / (limit.value * (abs(kept["effect"].mean()) if limit.is_share else 1)))
    return found


def test_a_run_stops_where_its_means_are_sure_enough(gpt2: Path, tmp_path: Path) -> None:
    choices = {"shard_sequences": SHARD, "top_fraction": 0.2, "ablations": ("resample", "zero")}
    spec = small_spec(gpt2, tokens=N * LENGTH, **choices)
    folder = RunFolder(Warehouse(tmp_path / "w"), spec.run_id)
    start(folder, prepare(spec))
    store_sequences(folder)
    measure(CLEAN_RUN, folder)
    keep_top_rows(folder)
    for shard in folder.shards[:-1]:
        HEAD_ABLATIONS.measure(folder, shard, lambda _: None)
    assert stop_if_sure(folder) is None  # nobody asked
    for limit in LIMITS:
        for part in (6, 12, 20):
            expected = sorted(errors_of(folder, part, limit))
            found = sureness_of(folder, part, limit)
            assert sorted(found.ratios) == pytest.approx(expected, rel=1e-4)
            assert found.ratio == pytest.approx(expected[int(np.ceil(0.95 * len(expected))) - 1])
    # Measured anew, shard by shard, with a limit that is reached on the way.
    needed = 14
    until = f"{1.0001 * sureness_of(folder, needed, Limit(1.0)).ratio:.6g}"
    right = next(
        part
        for part in range(SHARD, N, SHARD)
        if part >= 10
        and np.quantile(errors_of(folder, part, Limit.of(until)), 0.95, method="inverted_cdf") <= 1
    )
    head_tables = [folder.table(table) for table in HEAD_ABLATIONS.tables]
    for table in head_tables:
        table.withdraw(table.shards())
    start(folder, prepare(replace(spec, until=until)))
    told = []
    for shard in folder.shards:
        if folder.stopped_at is None:
            HEAD_ABLATIONS.measure(folder, shard, lambda _: None)
            told.append(stop_if_sure(folder))
    assert folder.stopped_at == right <= needed
    assert told[0] is not None
    assert "L0 " in told[0]
    assert "tokens are needed" in told[0]
    # What follows measures and publishes what is measured; nothing is planned any more.
    assert HEAD_ABLATIONS.left(folder) == []
    measure(HEAD_ABLATIONS, folder)
    measure(neuron_changes(folder), folder)
    measure(SELF_REINFORCEMENT, folder)
    assert part_to_publish(folder) is None
    made = publish_run(folder)
    assert made.rows["neuron_changes"] > 0
    assert made.rows["self_reinforcement"] > 0
    with open_serving(folder.warehouse) as connection:
        row = connection.execute(
            "select n_sequences_measured, stopped_by, options['until'] from runs"
        ).fetchone()
        published = connection.execute(
            "select self_repair_se from head_summary order by ablation::varchar, layer, head"
        ).fetchnumpy()["self_repair_se"]
    assert row == (right, f"--until {until}", until)
    assert sureness_of(folder, right, Limit(1.0)).ratios == pytest.approx(published, rel=1e-5)
    # With another rule it goes on, and the neurons are followed at the top rows of all there is.
    start(folder, prepare(spec))
    assert folder.stopped_at is None
    measure(HEAD_ABLATIONS, folder)
    step = neuron_changes(folder)
    assert step.left(folder) == folder.shards
    assert neuron_changes(folder).left(folder) == folder.shards


def test_as_many_tokens_are_needed_as_errors_say() -> None:
    """Heads whose error is twice, or half, the limit; the quantile is that of the worst."""
    rng = np.random.default_rng(0)
    n, heads = 4_000, 3
    rows = {
        "ablation": np.full(n * heads, "zero"),
        "layer": np.repeat(np.arange(heads), n),
        "head": np.zeros(n * heads, dtype=int),
        "sequence": np.tile(np.arange(n) // 4, heads),
        "position": np.tile(np.arange(n) % 4, heads),
        "cluster": np.tile(np.arange(n) // 4, heads),
        "direct_effect": np.full(n * heads, -2.0),
        "self_repair": rng.normal(0, np.repeat([0.5, 1.0, 2.0], n)),
    }
    counts, kept = np.full(n // 4, 4), 0.5
    error = 2 / np.sqrt(kept * n)
    given = pa.table(rows)
    found = sureness(given, counts, kept, Limit(error / 2))
    assert found.ratio == pytest.approx(2, rel=0.05)
    assert found.ratios[0] == pytest.approx(0.5, rel=0.05)
    assert not found.is_reached
    words = found.line(1_000, 10_000).split()
    tokens = float(words[words.index("some") + 1].replace(",", ""))
    assert tokens == pytest.approx(4_000, rel=0.1)
    assert found.line(1_000, 2_000).endswith("more than the 2,000 tokens are needed")
    assert sureness(given, counts, kept, Limit(1.1 * error)).is_reached
    few = rows | {"cluster": rows["cluster"] % 9}
    too_few = sureness(pa.table(few), np.bincount(few["cluster"]) // heads, kept, Limit(100.0))
    assert too_few.ratio < 1
    assert not too_few.is_reached
    of_effect = sureness(given, counts, kept, Limit(error / 4, is_share=True))
    assert of_effect.ratios == pytest.approx(found.ratios)


def test_a_large_run_is_looked_at_when_a_64th_of_it_is_new(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looked: list[int] = []

    def unsure(_: object, part: int, __: object) -> Sureness:
        looked.append(part)
        return Sureness(np.array([2.0]), np.array([0]), 50)

    monkeypatch.setattr(until, "sureness_of", unsure)
    spec = RunSpec(model="gpt2", tokens=2_000 * 128, until="0.1")
    folder: Any = SimpleNamespace(path=tmp_path, spec=spec)
    for part in range(2, 1_002, 2):
        monkeypatch.setattr(until, "measured_part", lambda _, part=part: part)
        assert "tokens are needed" in (stop_if_sure(folder) or "")
    assert looked[:63] == list(range(2, 128, 2)), "each shard, where a 64th is less"
    late = np.array(looked[63:])
    assert (np.diff(late) <= late[1:] // 64 + 2).all()
    assert 100 < len(looked) < 250
    monkeypatch.setattr(until, "measured_part", lambda _: 4)  # measured anew
    stop_if_sure(folder)
    assert looked[-1] == 4


@pytest.mark.parametrize("text", ["", "0", "-1", "5%%", "5%x", "nan", "inf", "some"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--until"):
        RunSpec(model="gpt2", until=text)
    assert Limit.of("5%") == Limit(0.05, is_share=True)
    assert Limit.of("0.05") == Limit(0.05)

"""How long publishing takes, and every relation of it to answer, on generated facts.

    python -m tests.benchmarks.query_speed --tokens 1000000 --warehouse /some/folder

The facts obey the specification (tests/helpers) and go through the real writer; the details of
the top rows are random numbers of the right shape. Prints a table in Markdown: the relations' times
are the best of three, with the rows counted or the whole answer fetched, as a reader would.
"""

import argparse
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from selfrepair.warehouse.connection import Connection
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.top_rows import (
    Places,
    most_direct_heads,
    top_rows,
    top_rows_by_mlp_repair,
)
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.outside import INSIDE
from selfrepair.warehouse.published.publish import publish
from selfrepair.warehouse.published.read import open_serving
from selfrepair_assets.measurement.engine.kept_details import curve_counts
from selfrepair_assets.measurement.run_spec import ROWS_PER_SHARD
from tests.helpers.runs.small_run import FINGERPRINT, planned, run_row, write_run

LENGTH = 128
SCALES = np.array([1.0, 3.0, 5.0], dtype="f4")
REINFORCED = 50  # sequences in self_reinforcement, the authors' number
HEAD = "run_id = 'bench' and ablation = 'resample' and layer = 5 and head = 7"
PER_ROW = ("self_repair", "top_by_direct_effect", "top_by_mlp_repair", "neuron_ablations")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--tokens", type=int, default=100_000)
    asked.add_argument("--layers", type=int, default=12)
    asked.add_argument("--heads", type=int, default=12)
    asked.add_argument("--d-mlp", type=int, default=3072)
    asked.add_argument("--warehouse", type=Path, required=True)
    options = asked.parse_args()
    warehouse = Warehouse(options.warehouse).prepare()
    row = bench_row(options.tokens, options.layers, options.heads, options.d_mlp)
    with timed("writing the facts"):
        write_run(warehouse, row, shard_of(row))
    with timed("ranking the rows"):
        kept = top_rows(warehouse, row)
    with timed("the most direct heads"):
        heads = most_direct_heads(warehouse, row)
    with timed("writing the details"):
        write_details(warehouse, row, kept, heads)
    print(f"| shards | {size(warehouse.root / 'facts') / 1e9:.2f} GB |")
    with timed("publishing"), peak_memory():
        publish(warehouse, row)
    print(f"| published file | {warehouse.serving.stat().st_size / 1e9:.3f} GB |")
    print(f"| files outside it | {size(warehouse.outside) / 1e9:.2f} GB |")
    with open_serving(warehouse) as connection:
        for name, seconds, rows in times(connection):
            print(f"| `{name}` | {seconds:.3f} s | {rows:,} |")


def bench_row(
    tokens: int, n_layers: int = 12, n_heads: int = 12, d_mlp: int = 3072
) -> dict[str, Any]:
    """A run of GPT2-Small's shape, under one ablation."""
    return run_row(
        "bench",
        n_layers=n_layers,
        n_heads=n_heads,
        d_mlp=d_mlp,
        sequence_length=LENGTH,
        n_sequences=tokens // LENGTH,
        ablations=["resample"],
        layer_precision=["fp32"] * n_layers,
        precision_error=None,
        top_fraction=0.02,
    )


def write_details(
    warehouse: Warehouse, row: dict[str, Any], kept: Places, heads: list[tuple[int, int]]
) -> None:
    """Random details at the top rows, shard by shard."""
    rng = np.random.default_rng(0)
    kept = kept | {"ablation": np.full(len(kept["layer"]), "resample")}
    by_repair = top_rows_by_mlp_repair(warehouse, row, heads)
    chosen = np.array([place in heads for place in zip(kept["layer"], kept["head"], strict=True)])
    rankings = [
        ("direct_effect", {name: column[chosen] for name, column in kept.items()}),
        ("mlp_repair", by_repair),
    ]
    paths: dict[str, list[Path]] = {}
    for start, stop in shards(row):
        here = within(kept, start, stop)
        made = {
            "component_changes": component_changes(row, here, rng),
            "neuron_repairs": neuron_repairs(row, here, rng),
            "neuron_changes": neuron_changes(
                row, [(ranking, within(places, start, stop)) for ranking, places in rankings], rng
            ),
            "self_reinforcement": self_reinforcement(row, start, stop, rng),
        }
        for table, columns in made.items():
            path = RunTable(warehouse, table, "bench").write(start, stop, columns, FINGERPRINT)
            paths.setdefault(table, []).append(path)
    for table, written in paths.items():
        planned(RunTable(warehouse, table, "bench"), FINGERPRINT, written)


def shard_of(row: dict[str, Any]) -> int:
    """How many sequences a shard has, as a real run's plan gives it."""
    return max(1, ROWS_PER_SHARD["cpu"] // (row["n_layers"] * row["n_heads"] * (LENGTH - 1)))


def shards(row: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """The sequences of each shard."""
    size = shard_of(row)
    for start in range(0, row["n_sequences"], size):
        yield start, min(start + size, row["n_sequences"])


def within(places: Places, start: int, stop: int) -> Places:
    inside = (places["sequence"] >= start) & (places["sequence"] < stop)
    return {name: column[inside] for name, column in places.items()}


def component_changes(
    row: dict[str, Any], here: Places, rng: np.random.Generator
) -> dict[str, Any]:
    after = row["n_layers"] - 1 - here["layer"]
    return here | {
        "head_changes": [rng.normal(0, 0.05, n * row["n_heads"]).astype("f4") for n in after],
        "mlp_changes": [rng.normal(0, 0.1, n + 1).astype("f4") for n in after],
    }


def neuron_repairs(row: dict[str, Any], here: Places, rng: np.random.Generator) -> dict[str, Any]:
    n = len(here["layer"])
    clean = rng.normal(-0.02, 0.05, (n, 50)).astype("f4")
    repair = rng.exponential(0.05, (n, 50)).astype("f4")
    points = len(curve_counts(row["d_mlp"]))
    steps = rng.exponential(1, (n, points)).astype("f4").cumsum(axis=1)
    return here | {
        "neurons": rng.integers(0, row["d_mlp"], (n, 50)),
        "direct_effects": clean,
        "direct_effects_ablated": clean - np.sort(-repair, axis=1),
        "net_change": rng.normal(0.3, 0.2, n),
        "positive_change": rng.normal(1, 0.2, n),
        "absolute_change": rng.normal(2, 0.2, n),
        "negligible_counts": np.sort(rng.integers(0, row["d_mlp"], (n, 4)), axis=1),
        "cumulative_share": (steps - steps[:, :1]) / (steps[:, -1:] - steps[:, :1]),
    }


def neuron_changes(
    row: dict[str, Any], rankings: list[tuple[str, Places]], rng: np.random.Generator
) -> dict[str, Any]:
    """Most neurons change little, as in a real layer."""
    names = ("ablation", "layer", "head", "sequence", "position")
    columns = {name: np.concatenate([p[name] for _, p in rankings]) for name in names}
    counts = [len(places["layer"]) for _, places in rankings]
    clean = rng.standard_normal((sum(counts), row["d_mlp"]), dtype="f4") * np.float32(0.05)
    change = rng.standard_normal(clean.shape, dtype="f4") ** 3 * np.float32(0.01)
    return columns | {
        "ranking": np.repeat([ranking for ranking, _ in rankings], counts),
        "direct_effects": clean,
        "direct_effects_ablated": clean + change,
    }


def self_reinforcement(
    row: dict[str, Any], start: int, stop: int, rng: np.random.Generator
) -> dict[str, Any]:
    """The upper half of the layers, the first sequences."""
    sequence = np.arange(start, min(stop, max(REINFORCED, start)))
    upper = np.arange(row["n_layers"] // 2, row["n_layers"])
    shape = (len(upper), row["n_heads"], len(SCALES), len(sequence), LENGTH - 1)
    effect = rng.normal(0.3, 1, (*shape[:2], 1, *shape[3:])).astype("f4")
    return {
        "layer": upper[:, None, None, None, None],
        "head": np.arange(row["n_heads"])[:, None, None, None],
        "scale": SCALES[:, None, None],
        "sequence": sequence[:, None],
        "position": np.arange(LENGTH - 1),
        "direct_effect": np.broadcast_to(effect, shape),
        "direct_effect_after": effect * (1 - 0.05 * SCALES[:, None, None]),
        "ln_scale_after": np.array(2.0, dtype="f4"),
    }


def times(connection: Connection) -> Iterator[tuple[str, float, int]]:
    """Every view and stored result, whole, and one head of those that have a row per position."""
    for (name,) in connection.execute("show tables").fetchall():
        if name not in PER_ROW and not name.endswith(INSIDE):
            yield name, *best(connection, f"from {name}")
    for name in PER_ROW:
        query = f"from {name} where {HEAD}"
        if name == "neuron_ablations":
            (found,) = connection.execute("from neuron_changes limit 1").fetchall()
            where = f"layer = {found[3]} and head = {found[4]} and sequence = {found[5]}"
            query = f"from {name} where {where} and position = {found[6]}"
        yield f"{name}, one head", *best(connection, query)
    by_head = "select layer, head, avg(self_repair) from self_repair group by all"
    yield "self_repair, the mean of each head", *best(connection, f"from ({by_head})")
    for name in ("head_summary_at(0.01)", "repairing_neuron_frequency_at(0.025)"):
        yield f"{name}, one head", *best(connection, f"from {name} where {HEAD}")


def best(connection: Connection, query: str) -> tuple[float, int]:
    """Seconds of the best of three, and rows; a large answer is read to its end, not kept."""
    seconds = []
    rows = 0
    for _ in range(3):
        began = time.monotonic()
        rows = sum(batch.num_rows for batch in connection.sql(query).to_arrow_reader(100_000))
        seconds.append(time.monotonic() - began)
    return min(seconds), rows


@contextmanager
def timed(what: str) -> Iterator[None]:
    began, used = time.monotonic(), time.process_time()
    yield
    seconds, used = time.monotonic() - began, time.process_time() - used
    print(f"| {what} | {seconds:.1f} s | {used:.1f} s of processor time |", flush=True)


@contextmanager
def peak_memory() -> Iterator[None]:
    """Prints the largest resident size of this process meanwhile."""
    largest, finished = [0], threading.Event()

    def watch() -> None:
        page = resource.getpagesize()
        while not finished.wait(0.2):
            with Path("/proc/self/statm").open() as file:
                largest[0] = max(largest[0], int(file.read().split()[1]) * page)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()
        print(f"| publishing, peak memory | {largest[0] / 1e9:.2f} GB |")


def size(folder: Path) -> int:
    return sum(os.path.getsize(path) for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()

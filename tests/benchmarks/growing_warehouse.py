"""What publishing a run costs in a warehouse that holds 0, 1, 4, 16 others of its size.

    python -m tests.benchmarks.growing_warehouse --rows 10000000 --warehouse /some/folder

All runs have the same made-up numbers (`query_speed.py`) and shards, under other names. Prints a
table in Markdown: the time, processor time and memory of one publishing, in a process of its own,
what it wrote (as the kernel counts it, spilling included) beside the size of the run's shards, and
what the warehouse takes on the disk in all.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from selfrepair.warehouse.facts.plan import read_plan, write_plan
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.facts.top_rows import most_direct_heads, top_rows
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.publish import publish
from tests.benchmarks.query_speed import bench_row, shard_of, size, write_details
from tests.helpers.runs.small_run import FINGERPRINT, write_run

HEADER = (
    "| runs there | seconds | processor seconds | peak memory | written | of the shards | on disk |"
)
FIRST = "bench"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument(
        "--rows", type=int, default=10_000_000, help="of head_ablations, of each run"
    )
    asked.add_argument("--runs", type=int, nargs="+", default=[0, 1, 4, 16])
    asked.add_argument("--warehouse", type=Path, required=True)
    asked.add_argument("--publish", help=argparse.SUPPRESS)
    options = asked.parse_args()
    warehouse = Warehouse(options.warehouse).prepare()
    row = bench_row(options.rows // 144)
    if options.publish:
        named = {"run_id": options.publish, "model": options.publish}
        print(*_published(warehouse, row | named))
        return
    if not warehouse.facts("head_ablations", FIRST).exists():
        write_run(warehouse, row, shard_of(row))
        kept, heads = top_rows(warehouse, row), most_direct_heads(warehouse, row)
        write_details(warehouse, row, kept, heads)
    shards = sum(size(warehouse.facts(table, FIRST)) for table in fact_tables())
    print(f"{HEADER}\n| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for n in range(max(options.runs) + 1):
        run_id = f"run {n}"
        _same_shards(warehouse, run_id)
        command = [sys.executable, "-m", __spec__.name, "--warehouse", str(warehouse.root)]
        done = subprocess.run(
            [*command, "--rows", str(options.rows), "--publish", run_id],
            check=True,
            capture_output=True,
            text=True,
        )
        if n in options.runs:
            seconds, processor, memory, written = map(float, done.stdout.split())
            print(
                f"| {n} | {seconds:.1f} | {processor:.1f} | {memory / 1e9:.2f} GB | "
                f"{written / 1e9:.2f} GB | {written / shards:.2f} | {_on_disk(warehouse):.1f} GB |",
                flush=True,
            )


def _same_shards(warehouse: Warehouse, run_id: str) -> None:
    """The first run's shards, once more under another name; they take no room."""
    plan = read_plan(warehouse, FIRST)
    assert plan is not None
    write_plan(warehouse, run_id, FINGERPRINT, plan.tables, plan.about)
    for table in plan.tables:
        first, other = RunTable(warehouse, table, FIRST), RunTable(warehouse, table, run_id)
        other.folder.mkdir(parents=True, exist_ok=True)
        for path in first.files():
            if not (other.folder / path.name).exists():
                os.link(path, other.folder / path.name)
        other.write_manifest(FINGERPRINT, [other.folder / path.name for path in first.files()])


def _published(warehouse: Warehouse, row: dict[str, Any]) -> tuple[float, float, int, int]:
    """Seconds, processor seconds, largest resident size and bytes written of one publishing."""
    began, used, wrote = time.monotonic(), time.process_time(), _bytes_written()
    publish(warehouse, row)
    return (
        time.monotonic() - began,
        time.process_time() - used,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        _bytes_written() - wrote,
    )


def _bytes_written() -> int:
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def _on_disk(warehouse: Warehouse) -> float:
    """GB, shards apart."""
    return (size(warehouse.generations) + size(warehouse.outside)) / 1e9


if __name__ == "__main__":
    main()

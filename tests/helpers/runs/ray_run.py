"""Two Ray workers beside one process, as `python -m tests.helpers.runs.ray_run FOLDER SEED`.

Prints what it found as JSON.
"""

import json
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.engine.measure import Progress
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.steps.head_ablations import HEAD_ABLATIONS, measure_ablation_shard
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard
from selfrepair_assets.steps.sharded.step import Executor, Step, in_this_process
from selfrepair_assets.steps.workers.deployment import Workers
from tests.helpers.models.families import save
from tests.helpers.runs.asset_runs import small_spec, write_text
from tests.helpers.runs.step_runs import measured_anew

SLOWER = 0.5  # seconds before and after a shard, in which a kill is sure to meet somebody


def slowly(folder: RunFolder, shard: Shard, progress: Progress) -> bool:
    time.sleep(SLOWER)
    measured = measure_ablation_shard(folder, shard, progress)
    time.sleep(SLOWER)
    return measured


def refuse(folder: RunFolder, shard: Shard, progress: Progress) -> bool:
    raise InputError(f"{shard} cannot be measured.")


def stumble(folder: RunFolder, shard: Shard, progress: Progress) -> bool:
    raise ZeroDivisionError("a bug")


def die(folder: RunFolder, shard: Shard, progress: Progress) -> bool:
    os.kill(os.getpid(), signal.SIGKILL)
    return True


def workers() -> list[psutil.Process]:
    """The processes that measure."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "ray::Worker" in " ".join(child.cmdline())]


def disturbed(execute: Executor, seconds: float) -> Executor:
    """Ablates slowly, and kills a worker so many seconds after the first is at it."""

    def kill() -> None:
        killed = random.choice(workers())
        killed.send_signal(signal.SIGKILL)

    def measure(
        step: Step, folder: RunFolder, shards: Sequence[Shard], progress: Progress
    ) -> Iterator[Shard]:
        if step is not HEAD_ABLATIONS:
            yield from execute(step, folder, shards, progress)
            return
        timer = threading.Timer(seconds, kill)
        timer.start()
        yield from execute(replace(step, measure=slowly), folder, shards, progress)
        timer.join()

    return measure


def error_of(execute: Executor, folder: RunFolder, measure: Callable[..., bool]) -> list[str]:
    """The type and the message of what a step that cannot be measured raises."""
    told: list[int] = []
    try:
        step = replace(HEAD_ABLATIONS, measure=measure)
        list(execute(step, folder, folder.shards[:2], told.append))
    except Exception as error:
        assert sum(told) == 0
        return [type(error).__name__, str(error)]
    return []


def look(base: Path, seed: int) -> dict[str, Any]:
    random.seed(seed)
    save("gpt2", base / "gpt2")
    write_text(base / "text.txt")
    spec = small_spec(base / "gpt2", shard_sequences=2, ablations=("resample", "mean"))
    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("selfrepair_assets").addHandler(handler)

    found: dict[str, Any] = {"one": measured_anew(in_this_process, base / "one", spec)}
    began = time.monotonic()
    with Workers(2).executor("cpu") as execute:
        seconds = random.uniform(0, 5 * SLOWER)
        found["two"] = measured_anew(disturbed(execute, seconds), base / "two", spec)
        processes = {process.pid for process in workers()}
        found["warnings"] = list(warnings)
        addresses = {
            connection.laddr.ip.removeprefix("::ffff:")
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        folder = RunFolder(Warehouse(base / "two"), spec.run_id)
        found["errors"] = [error_of(execute, folder, how) for how in (refuse, stumble, die)]
    left = [pid for pid in processes if psutil.pid_exists(pid)]
    return found | {"addresses": sorted(addresses), "left": left, "took": time.monotonic() - began}


if __name__ == "__main__":
    print("FOUND " + json.dumps(look(Path(sys.argv[1]), int(sys.argv[2]))), flush=True)
    os._exit(0)  # as the command ends

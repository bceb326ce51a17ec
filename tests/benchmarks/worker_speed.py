"""How much faster two workers of one thread each ablate than one process of one thread.

    python -m tests.benchmarks.worker_speed
    python -m tests.benchmarks.worker_speed --model gpt2 --corpus text.txt --layers 6:12

Both measure the same step (`head ablations`) of the same run, in turn, each round in a warehouse of
its own, the model being loaded and the clean run measured by the same executor before. The time to
start Ray and two workers is told apart: a run pays it once. Two free cores are needed: how much of
the machine's cores others took meanwhile is printed with each round.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import psutil

from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.steps.clean_run import CLEAN_RUN
from selfrepair_assets.steps.head_ablations import HEAD_ABLATIONS, keep_top_rows
from selfrepair_assets.steps.run_spec import prepare, start
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.step import Step
from selfrepair_assets.steps.sharded.stored_shards import collect
from selfrepair_assets.steps.workers.deployment import Workers


def seconds_of(number: int, spec: RunSpec, root: Path) -> tuple[float, float, float]:
    """Seconds until workers answer and have loaded the model, of the step, and cores of others."""
    folder = RunFolder(Warehouse(root), spec.run_id)
    start(folder, prepare(spec))
    began = time.monotonic()
    with Workers(number).executor("cpu") as execute:

        def measure(step: Step) -> None:
            for _ in execute(step, folder, step.missing(folder), lambda n: None):
                pass

        measure(CLEAN_RUN)
        for table in CLEAN_RUN.tables:
            collect(folder, table)
        keep_top_rows(folder)
        ready, busy, own = time.monotonic(), _busy(), _own()
        measure(HEAD_ABLATIONS)
        took = time.monotonic() - ready
        others = (_busy() - busy - (_own() - own)) / took
    return ready - began, took, others


def _busy() -> float:
    """Seconds of all cores that were not idle."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def _own() -> float:
    """Seconds of this process and those below it, Ray's included."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:2])
        except psutil.Error:
            continue
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--corpus", default=None, help="default: the run's own default")
    parser.add_argument("--layers", default="24:30")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    choices = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    corpus = {} if choices.corpus is None else {"corpus": choices.corpus}
    spec = RunSpec(
        model=choices.model,
        layers=choices.layers,
        tokens=choices.tokens,
        sequence_length=64,
        shard_sequences=1,
        precision="fp32",
        device="cpu",
        **corpus,
    )
    print(f"{choices.model}, layers {choices.layers}, {choices.tokens} tokens, one thread each")
    ratios = []
    for n in range(choices.rounds):
        took = {}
        for number in (1, 2):
            with tempfile.TemporaryDirectory() as place:
                before, took[number], others = seconds_of(number, spec, Path(place))
            print(
                f"round {n + 1}, workers {number}: {before:.1f} s to the end of the clean run, "
                f"{took[number]:.1f} s of ablations; others took {others:.2f} cores",
                flush=True,
            )
        ratios.append(took[2] / took[1])
    print(f"two workers take {statistics.median(ratios):.3f} of the time of one (median)")
    print(f"each round: {', '.join(f'{ratio:.3f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()

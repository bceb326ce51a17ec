"""Two workers, of which one is killed at a random moment, against one process: the same tables?

    python -m tests.faults.lost_workers [--kills 10] [--seed N]
    python -m tests.faults.lost_workers --facts         the facts in an S3 store on loopback too

1. `selfrepair run --workers 1` measures a random GPT-2 of 12 heads, in this process's way.
2. `selfrepair run --workers 2` measures it, as often as there are kills, into a warehouse of its
   own each time. When so many of its shards are there, drawn at random, and a moment has passed, a
   worker drawn at random gets SIGKILL.
3. So does a worker of a run that is launched through Dagster's web server, where
   $SELFREPAIR_WORKERS is 2.

Every published table and view is compared: what is measured to the last bit, the rest beyond
rounding. Each worker, and the one process, has one thread, since the number of threads changes last
bits (docs/past-one-machine.md).
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import psutil

from selfrepair.warehouse.object_store import FACTS
from selfrepair_assets.steps.workers.deployment import NUMBER
from tests.assets.test_interruption import LIMIT, SHARDS, command, shards
from tests.browser.test_dagster_ui import ended, launched
from tests.browser.visit import free_port, serving
from tests.faults.compared import difference, tables
from tests.helpers.models.families import save
from tests.helpers.objects.s3_server import BUCKET, s3_server
from tests.helpers.runs.asset_runs import write_text

CHOICES = {
    "tokens": 4 * SHARDS * 32,
    "sequence_length": 32,
    "shard_sequences": 4,
    "ablations": ["resample", "mean"],
}
"""What `command` asks for, as the Launchpad takes it."""


def workers_below(process: psutil.Process) -> list[psutil.Process]:
    """The processes that measure for a command or a server; Ray names them after what they run."""
    found = []
    for child in process.children(recursive=True):
        try:
            if child.cmdline()[:1] and child.cmdline()[0].startswith("ray::Worker"):
                found.append(child)
        except psutil.Error:  # it has ended meanwhile
            continue
    return found


def kill_one(
    root: Path, process: psutil.Process, goes_on: Callable[[], bool], last: int, rng: random.Random
) -> str:
    """Kills a worker when so many of `last` shards are there, drawn at random; says when it was."""
    wanted, moment = rng.randrange(last), rng.uniform(0, 0.3)
    began = time.monotonic()
    while goes_on() and time.monotonic() - began < LIMIT:
        if len(shards(root)) >= wanted and workers_below(process):
            time.sleep(moment)
            there = workers_below(process)
            if there:
                rng.choice(there).send_signal(signal.SIGKILL)
                return f"at {len(shards(root))} of {last} shards"
        time.sleep(0.01)
    return ""


def run_with_a_kill(
    folder: Path, root: Path, last: int, rng: random.Random, facts: str
) -> tuple[str, str]:
    """A command with two workers; when one was killed, and what is wrong with the command."""
    where = ["--facts", facts.replace("?", f"/{root.name}?")] if facts else []
    said = root.with_suffix(".said")
    with said.open("w") as file:
        process = subprocess.Popen(
            [*command(folder, root), "--workers", "2", *where],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    goes_on: Callable[[], bool] = lambda: process.poll() is None  # noqa: E731
    killed = kill_one(root, psutil.Process(process.pid), goes_on, last, rng)
    code = process.wait(LIMIT)
    text = said.read_text()
    wrong = f" | it ended with {code}: {text[-1500:]}" if code or "Traceback" in text else ""
    return killed, wrong


def dagster_with_a_kill(
    folder: Path, root: Path, last: int, rng: random.Random, facts: str
) -> tuple[str, str]:
    """The same of a run that is launched through the web server."""
    os.environ[NUMBER] = "2"
    if facts:
        os.environ[FACTS] = facts.replace("?", f"/{root.name}?")
    port = free_port()
    address = f"http://localhost:{port}"
    arguments = ["-m", "selfrepair", "dagster", "--port", str(port)]
    with serving(arguments, root, f"{address}/server_info", seconds=LIMIT):
        choices = CHOICES | {"corpus": str(folder / "text.txt")}
        run_id = launched(address, str(folder / "gpt2"), choices)
        killed = kill_one(root, psutil.Process(), lambda: True, last, rng)
        status = ended(address, run_id, LIMIT)
    return killed, "" if status == "SUCCESS" else f" | it ended as {status}"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--kills", type=int, default=10, help="of the command's workers")
    asked.add_argument("--seed", type=int, default=random.randrange(10**6))
    asked.add_argument("--facts", action="store_true", help="in an S3 store too")
    options = asked.parse_args()
    print(f"seed {options.seed}", flush=True)
    rng = random.Random(options.seed)
    os.environ["OMP_NUM_THREADS"] = "1"
    failed = 0
    with (
        tempfile.TemporaryDirectory() as place,
        s3_server() if options.facts else nullcontext("") as store,
    ):
        folder, facts = Path(place), f"s3://{BUCKET}/kills{store}" if store else ""
        save("gpt2", folder / "gpt2")
        write_text(folder / "text.txt")
        calm = folder / "calm"
        subprocess.run([*command(folder, calm), "--workers", "1"], check=True, capture_output=True)
        expected, last = tables(calm), len(shards(calm))
        for n in range(options.kills + 1):
            way = run_with_a_kill if n < options.kills else dagster_with_a_kill
            root, began = folder / f"run-{n}", time.monotonic()
            killed, wrong = way(folder, root, last, rng, facts)
            wrong = wrong or difference(tables(root), expected)
            wrong = wrong or ("" if killed else " | no worker was there to be killed")
            failed += bool(wrong)
            name = "selfrepair run" if n < options.kills else "Dagster's web server"
            took = time.monotonic() - began
            outcome = f"WRONG{wrong}" if wrong else "the same tables"
            print(f"{name}: a worker killed {killed}: {outcome} ({took:.0f} s)", flush=True)
    print(f"{options.kills + 1} kills, {failed} wrong")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

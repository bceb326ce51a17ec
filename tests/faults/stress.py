"""Everything at once, for some minutes: does anybody see an error, or something torn?

    python -m tests.faults.stress --minutes 10

One process measures a run again and again (`--restart`), one publishes another run again and again,
eight readers compare what `runs` says with the rows that there are, and a visitor types SQL. Prints
how often each did it, and every error.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from selfrepair.app.console import sql_console
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.generations import current
from selfrepair.warehouse.published.read import current_generation
from tests.assets.test_interruption import Reader
from tests.helpers.models.families import save
from tests.helpers.runs.asset_runs import LENGTH, write_text
from tests.helpers.runs.cli_runs import installed

ASKED = [
    "select count(*) from head_ablations",
    "select run_id, count(*) from head_summary group by all",
    "from layer_summary order by all limit 5",
    "copy runs to 'x.csv'",
    "select layer, avg(self_repair) from self_repair group by all",
]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--minutes", type=float, default=10)
    minutes = asked.parse_args().minutes
    with tempfile.TemporaryDirectory() as place:
        failed = stress(Path(place), 60 * minutes)
    sys.stdout.flush()
    os._exit(1 if failed else 0)


def stress(place: Path, seconds: float) -> list[str]:
    root, text = place / "warehouse", write_text(place / "text.txt")
    for name in ("gpt2", "gpt_neox"):
        save(name, place / name)
    run = ["--corpus", str(text), "--tokens", str(16 * LENGTH), "--sequence-length", str(LENGTH)]
    run += ["--top-fraction", "0.1", "--ablations", "resample,mean"]
    done, errors, stop = Counter[str](), list[str](), threading.Event()

    def command(who: str, *words: str) -> None:
        code, _, err = installed(*words, "--warehouse", root)
        done[who] += 1
        if code:
            errors.append(f"{who}: {err[-1500:]}")

    def again(who: str, *words: str) -> None:
        while not stop.is_set():
            command(who, *words)

    def visit() -> None:
        while not stop.is_set():
            for text in ASKED:
                file = current(Warehouse(root))
                assert file is not None
                told = sql_console.run(file, text)
                done["visitor"] += 1
                refused = told.error is not None and told.error.startswith("refused")
                gone = told.error is not None and "newer generation" in told.error
                if refused != text.startswith("copy") and not gone:
                    errors.append(f"visitor: {text}: {told.error}")

    for name in ("gpt2", "gpt_neox"):
        command("first run", "run", str(place / name), *run)
    readers = [Reader(root) for _ in range(8)]
    threads = [
        threading.Thread(
            target=again, args=("measured", "run", str(place / "gpt2"), *run, "--restart")
        ),
        threading.Thread(target=again, args=("published", "publish", str(place / "gpt_neox"))),
        threading.Thread(target=visit),
        *readers,
    ]
    began = current_generation(Warehouse(root))
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for reader in readers:
        reader.stop.set()
    for thread in threads:
        thread.join()
    errors += [f"reader: {wrong!r}" for reader in readers for wrong in reader.wrong]
    print(
        f"{seconds / 60:g} minutes, 2 models of 12 heads, 16 sequences of 16 tokens: {dict(done)}"
    )
    print(f"8 readers: {sum(reader.answers for reader in readers)} consistent answers")
    print(f"generations {began} to {current_generation(Warehouse(root))}; errors: {len(errors)}")
    print(*errors[:5], sep="\n")
    return errors


if __name__ == "__main__":
    main()

"""A run that is killed thrice ends as one that nobody disturbed, and readers notice nothing."""

import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import current_generation, open_serving
from tests.helpers.models.families import save
from tests.helpers.runs.asset_runs import published, write_text
from tests.helpers.runs.cli_runs import PROGRAM

SEED = 11
KILLS = 3
SHARDS = 10
LIMIT = 300  # seconds of one command: far more than it needs, so that one that hangs is seen


def command(
    folder: Path, root: Path, model: str = "gpt2", tokens: int = 4 * SHARDS * 32
) -> list[str]:
    return [
        *(PROGRAM, "run", str(folder / model), "--corpus", str(folder / "text.txt")),
        *("--warehouse", str(root)),
        *("--tokens", str(tokens), "--sequence-length", "32", "--shard-sequences", "4"),
        *("--ablations", "resample,mean"),
    ]


def shards(root: Path) -> dict[Path, tuple[int, int]]:
    """Each finished shard, with what changes if it is written again."""
    found = (root / "facts").rglob("sequences-*.parquet") if root.exists() else []
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}


class Reader(threading.Thread):
    """Asks the served file again and again, and keeps what it should not have seen."""

    def __init__(self, root: Path) -> None:
        super().__init__(daemon=True)
        self.warehouse, self.stop = Warehouse(root), threading.Event()
        self.wrong: list[object] = []
        self.generations: set[int | None] = set()
        self.answers = 0

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self.generations.add(current_generation(self.warehouse))
                with open_serving(self.warehouse) as connection:
                    torn = connection.execute(
                        """
                        select run_id
                        from runs
                        where n_tokens <> (
                                select count(*) from tokens where tokens.run_id = runs.run_id
                            )
                            or n_tokens * n_layers * n_heads * len(ablations) <> (
                                select count(*)
                                from head_ablations
                                where head_ablations.run_id = runs.run_id
                            )
                            or n_layers * len(ablations) <> (
                                select count(*)
                                from layer_summary
                                where layer_summary.run_id = runs.run_id
                            )
                        """
                    ).fetchall()
                self.wrong += torn
                self.answers += 1
            except Exception as error:
                self.wrong.append(error)
            time.sleep(0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save("gpt2", folder / "gpt2")
    save("gpt_neox", folder / "other")
    write_text(folder / "text.txt")
    return folder


def test_killed_again_and_again(folder: Path, tmp_path: Path) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    for root, model, tokens in ((calm, "gpt2", 4 * SHARDS * 32), (wild, "other", 4 * 32)):
        subprocess.run(
            command(folder, root, model, tokens), check=True, capture_output=True, timeout=LIMIT
        )
    reader = Reader(wild)  # something is published there, so that there is something to read
    reader.start()
    before = shards(wild)
    # Where to be killed: when so many shards of all tables are there, plus a moment.
    rng = random.Random(SEED)
    last = sum(1 for path in shards(calm))
    moments = sorted(rng.sample(range(1, last), KILLS - 1))
    killed, seen = [], before
    for n, moment in enumerate([*moments, None]):
        after = rng.uniform(0, 0.3 if moment else 1.0)
        process = subprocess.Popen(
            command(folder, wild), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < LIMIT:
            building = any((wild / "generations").glob("*.building"))
            if building if moment is None else len(shards(wild)) - len(before) >= moment:
                break
            time.sleep(0.01)
        time.sleep(after)
        assert process.poll() is None, f"ended before it could be killed (kill {n}, {moment})"
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = shards(wild)
        killed.append((moment or "while publishing", round(after, 2), len(there) - len(before)))
        for path, identity in seen.items():
            assert there[path] == identity, f"{path} was measured again"
        seen = there
    print("killed at (shards wanted, seconds after, shards there):", killed)
    subprocess.run(command(folder, wild), check=True, capture_output=True, timeout=LIMIT)
    reader.stop.set()
    reader.join(60)
    there = shards(wild)
    for path, identity in seen.items():
        assert there[path] == identity, f"{path} was measured again"
    assert len(there) - len(before) == last
    assert not reader.wrong, reader.wrong[:3]
    assert reader.answers > 20
    assert len(reader.generations) >= 2
    assert None not in reader.generations
    assert not list(wild.rglob("*.tmp-*"))
    assert not list((wild / "generations").glob("*.building"))
    run_id, names = str(folder / "gpt2"), [*published(calm)]
    for name in names:
        with open_serving(Warehouse(calm)) as one, open_serving(Warehouse(wild)) as other:
            times = "exclude (started_at, finished_at)" if name == "runs" else ""
            query = f"select * {times} from {name} where run_id = ? order by all"
            expected = one.execute(query, [run_id]).df()
            assert len(expected), name
            found = other.execute(query, [run_id]).df()  # threads add in an order of their own
            pd.testing.assert_frame_equal(found, expected, rtol=1e-12, atol=1e-12, obj=name)


def test_control_c_says_how_to_go_on(folder: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(folder, tmp_path / "warehouse"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    began = time.monotonic()
    measured = tmp_path / "warehouse" / "facts" / "head_ablations"
    while not list(measured.rglob("*.parquet")) and time.monotonic() - began < LIMIT:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1].startswith("Stopped. Finished shards are kept")
    done = subprocess.run(
        command(folder, tmp_path / "warehouse"), capture_output=True, timeout=LIMIT, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "waiting for run" not in done.stderr

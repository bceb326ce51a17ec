"""Faults: each a small function that harms a warehouse, at a place that a seed chooses.

    python -m tests.faults.fault_suite            the whole: some 250 injections, a table at the end
    python -m tests.faults.fault_suite --short    what the tests run

After each: is what is published whole, does the same command end well, and are the tables those of
a run that nobody disturbed? See `fault_suite.py`.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

Harm = Callable[[Path, random.Random], None]
"""Harms one file."""


def flip(path: Path, rng: random.Random) -> None:
    """One bit of one byte."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def cut(path: Path, rng: random.Random) -> None:
    """The end is missing."""
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def garble(path: Path, rng: random.Random) -> None:
    """Noise in the place of a part."""
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    stop = min(len(data), start + 1 + rng.randrange(len(data)))
    data[start:stop] = rng.randbytes(stop - start)
    path.write_bytes(data)


def remove(path: Path, rng: random.Random) -> None:
    path.unlink()


def folder(path: Path, rng: random.Random) -> None:
    """A folder in its place."""
    path.unlink()
    path.mkdir()


HARMS: dict[str, Harm] = {
    "bit flip": flip,
    "cut off": cut,
    "emptied": empty,
    "garbled": garble,
    "removed": remove,
    "a folder in its place": folder,
}


def harmed(path: Path, how: str) -> None:
    """Harms a file in one of these ways, each time at the same place."""
    HARMS[how](path, random.Random(0))


def shards(root: Path) -> list[Path]:
    return sorted((root / "facts").rglob("sequences-*.parquet"))


def manifests(root: Path) -> list[Path]:
    return sorted((root / "facts").rglob("manifest.json"))


def of_run_folder(root: Path) -> list[Path]:
    return sorted(path for path in (root / "runs").rglob("*") if path.is_file())


def published(root: Path) -> list[Path]:
    """The served file, its checksum and the stable name."""
    files = sorted(path for path in (root / "generations").iterdir() if path.is_file())
    return [*files, root / "selfrepair.duckdb"]


def history(root: Path) -> list[Path]:
    files = (path for path in (root / "dagster").rglob("*") if path.is_file())
    return sorted(path for path in files if path.suffix in (".db", ".yaml"))


def leftovers(root: Path, rng: random.Random) -> None:
    """What killed processes leave: half files, half generations, folders that DuckDB spilled to."""
    (root / "generations" / "selfrepair-000009.building").mkdir()
    (root / "generations" / "selfrepair-000008.building.wal").write_bytes(b"half")
    (root / "scratch").mkdir(exist_ok=True)
    (root / "scratch" / "123-abc").mkdir()
    (root / "scratch" / "0123.lock").touch()
    near = rng.choice(shards(root))
    near.with_name(near.name + ".tmp-7-ab").write_bytes(b"half")
    run = next(path for path in (root / "runs").iterdir() if path.is_dir())
    (run / "run.json.tmp-7-ab").write_text("{")
    (root / "selfrepair.duckdb.tmp-7").symlink_to("generations/none")


def whole_folder(root: Path, rng: random.Random) -> None:
    """All shards of one table are gone."""
    shutil.rmtree(rng.choice(sorted((root / "facts").iterdir())))


PLACES: dict[str, Callable[[Path], list[Path]]] = {
    "shard": shards,
    "manifest": manifests,
    "file of the run's folder": of_run_folder,
    "published file": published,
    "Dagster's history": history,
}

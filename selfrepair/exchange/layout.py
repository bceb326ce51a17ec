"""What an export holds, under which names; nothing of another name is ever read.

    README.md                                    the dataset card
    SHA256SUMS                                   of every other file, for `sha256sum --check`
    selfrepair.duckdb                            the run alone, as a warehouse publishes it
    run/run.json, finished.json, text.json, …    what the run is (plan.py, run_folder.py)
    facts/<table>/sequences-….<sha256>.parquet   its shards, byte for byte; rows sorted by head

An import reads run/ and facts/ alone: the DuckDB file, which may hold views of any SQL, and the
card are for people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.shards import is_shard
from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.sealed import SEALED

CARD, SUMS, DATABASE = "README.md", "SHA256SUMS", "selfrepair.duckdb"
PLAN = "run/run.json"
NOTES = re.compile(r"run/(run|finished|text|(tf32|bf16)-(sample|sequences-\d{6,}-\d{6,}))\.json")
LINE = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<name>[^\n]+)")

MOST_SUMS = 2**26  # bytes of SHA256SUMS: 400,000 files
MOST_NOTE = 2**26  # bytes of a file in run/


class RefusedError(WarehouseError):
    """An export that cannot be imported; the message says which file of it is why."""


def sums_text(sums: Mapping[str, str]) -> str:
    """SHA256SUMS, of name -> checksum."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))


def read_sums(data: bytes) -> dict[str, str]:
    """Name -> checksum. Raises RefusedError for a name that no export has, or that comes twice."""
    try:
        lines = data.decode("ascii").splitlines()
    except UnicodeDecodeError:
        lines = ["?"]
    sums: dict[str, str] = {}
    for line in lines:
        found = LINE.fullmatch(line)
        if not found:
            raise RefusedError(f"{SUMS} is not one of an export: {line[:80]!r}")
        name = found["name"]
        if name in sums or not (name in (CARD, DATABASE) or is_read(name)):
            raise RefusedError(f"{SUMS} names {name[:80]!r}, which no export holds, or holds twice")
        sums[name] = found["sha256"]
    if not data.endswith(b"\n") or PLAN not in sums:
        raise RefusedError(f"{SUMS} is cut off")
    return sums


def is_read(name: str) -> bool:
    """Whether an import reads a file of that name."""
    return bool(NOTES.fullmatch(name)) or table_of(name) is not None


def table_of(name: str) -> str | None:
    """The fact table that a file of an export is a shard of; None for other files."""
    folder, _, rest = name.partition("/")
    table, _, file = rest.partition("/")
    is_fact = folder == "facts" and table in fact_tables() and SEALED.fullmatch(file)
    return table if is_fact and is_shard(Path(file)) else None

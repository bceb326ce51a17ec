"""One table of one run: its shards, and the manifest that says which of them count.

    facts/<table>/run=<slug>/sequences-000000-000016.<sha256>.parquet    sequences 0 to 15
    facts/<table>/run=<slug>/manifest.json

    {"sha256": ..., "table": ..., "run_id": ..., "spec_fingerprint": ..., "dropped": false,
     "shards": [{"file": ..., "rows": ..., "bytes": ..., "sha256": ...}]}

The manifest is written, atomically, when all shards are there. Readers take the files that it
names. `dropped` says that the shards were removed after publishing (`keep_shards=False`), so that
the run can only be measured again.

A `part` of a run is its first sequences, as many shards as are measured. What it consists of is
found in the plan and proved by the shards themselves; no manifest is written of it.

A shard's checksum is the one in its name, from when it was written; it is never computed from a
file that is found. A manifest that is lost or damaged is written again from shards that prove
themselves; of one that names a shard with another checksum, nothing is overwritten.

Whatever writes, lists, proves or removes these files goes through `RunTable`. Others only read the
files that it names, with DuckDB or Arrow, look how old its folder is, or set a damaged file aside.
Where shards lie in an object store too, they are put there and got from there (object_store.py).
"""

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.facts.plan import require_plan
from selfrepair.warehouse.facts.shards import (
    MEASURE_AGAIN,
    Rows,
    entry_of,
    is_shard,
    range_of,
    refuse_gap,
    shard_fingerprint,
    shard_precision,
    shard_stem,
    write_rows,
)
from selfrepair.warehouse.object_store import store_of
from selfrepair.warehouse.paths import TEMPORARY, Warehouse
from selfrepair.warehouse.sealed import (
    DamagedError,
    checksum_in,
    is_intact,
    read_json,
    sealed_files,
    set_aside,
    write_json,
    write_sealed,
)

Manifest = dict[str, Any]


@dataclass(frozen=True)
class RunTable:
    """The files of one fact table of one run; nothing is created before the first `write`.

    part: how many of the run's first sequences are read; None: all, as the manifest names them.
    """

    warehouse: Warehouse
    table: str
    run_id: str
    part: int | None = None

    @property
    def folder(self) -> Path:
        return self.warehouse.facts(self.table, self.run_id)

    @property
    def manifest_path(self) -> Path:
        return self.folder / "manifest.json"

    def write(
        self, start: int, stop: int, rows: Rows, fingerprint: str, precision: str | None = None
    ) -> Path:
        """Writes the shard of sequences `start` to `stop` (exclusive) whole or not at all.

        rows: one array per column of `schema(table)`, of shapes that broadcast together, such as
            layer[layer 1 1 1] with direct_effect[layer head sequence pos]; text as arrays of str;
            a column of lists as an array [row item], a sequence of arrays or an Arrow list array,
            one for each row, the others being flat then. They need not be sorted. Or several such
            parts, one after the other in the order of `SORTED_BY`: one is in memory at a time.
        precision: what they were measured in, where a run may change it on its way.
        Returns its path. Raises WarehouseError for a missing or unknown column, a sequence outside
        [start, stop), parts out of order, a value that the column cannot hold, and where the disk
        does not take the file.
        """
        footer = {"spec_fingerprint": fingerprint, "table": self.table, "run_id": self.run_id}
        footer |= {"layer_precision": precision} if precision is not None else {}
        with one_clear_line(f"write a shard of {self.table} for {self.run_id}"):
            path = write_sealed(
                self.folder,
                shard_stem(start, stop),
                ".parquet",
                lambda file: write_rows(file, self.table, start, stop, rows, footer),
            )
        store_of(self.warehouse).put(path)
        return path

    def intact(
        self, start: int, stop: int, fingerprint: str, precision: str | None = None
    ) -> Path | None:
        """The shard, if it has the bytes that were written, and was measured for this spec.

        The bytes are read once in a process, and again when the file changes.

        precision: what it must have been measured in; None takes any.
        """
        path = self._intact_here(start, stop, fingerprint, precision)
        if path is not None:
            store_of(self.warehouse).keep(path)
        elif store_of(self.warehouse).get(self.folder, shard_stem(start, stop), ".parquet"):
            path = self._intact_here(start, stop, fingerprint, precision)
        return path

    def _intact_here(self, start: int, stop: int, spec: str, precision: str | None) -> Path | None:
        for path in sealed_files(self.folder, shard_stem(start, stop), ".parquet"):
            of_spec = is_intact(path) and shard_fingerprint(path) == spec
            if of_spec and precision in (None, shard_precision(path)):
                return path
        return None

    def shards(self) -> list[Path]:
        """Every shard that is there, by name alone: damaged, superseded, or of another spec too."""
        return [path for path in self._there() if is_shard(path)]

    def ranges(self) -> set[tuple[int, int]]:
        """Of which sequences there is a shard, by the names alone."""
        return {range_of(path.name) for path in self.shards()}

    def damaged(self) -> list[Path]:
        """The shards, named by the manifest or not, whose bytes are not what was written."""
        return [path for path in self.shards() if not is_intact(path, afresh=True)]

    def fingerprints(self) -> set[str]:
        """Of which specs there are shards; the file tells, where it can be read."""
        return {found for path in self._there() if (found := shard_fingerprint(path))}

    def leftovers(self) -> list[Path]:
        """What killed writers left, and living ones are writing."""
        return [path for path in self._there() if TEMPORARY in path.name]

    def manifest(self) -> Manifest | None:
        """The manifest; None where there is none yet. Raises DamagedError."""
        heal = f"`selfrepair publish` writes it anew from the shards of {self.run_id}"
        return read_json(self.manifest_path, heal)

    def complete_manifest(self) -> Manifest:
        """The manifest of a measured table that still has its shards; else WarehouseError.

        Of a part, what its manifest would be.
        """
        if self.part is not None:
            return self._manifest_of_part()
        manifest = self.manifest()
        if manifest is None:
            raise WarehouseError(
                f"{self.run_id} is not measured to the end ({self.table} has no manifest): "
                "run it first"
            )
        if manifest["dropped"]:
            raise WarehouseError(
                f"the shards of {self.run_id} were dropped after it was published: "
                "measure it again (--restart) to publish it again"
            )
        return manifest

    def files(self) -> list[Path]:
        """The Parquet files that the table consists of, in the order of their sequences."""
        return [self.folder / shard["file"] for shard in self.complete_manifest()["shards"]]

    def row_count(self) -> int:
        """The number of rows, as the manifest counts them."""
        return sum(shard["rows"] for shard in self.complete_manifest()["shards"])

    def missing(self) -> list[Path]:
        """Shards that the manifest names and that are not there. Raises DamagedError."""
        manifest = self.manifest()
        named = manifest["shards"] if manifest and not manifest["dropped"] else []
        paths = [self.folder / shard["file"] for shard in named]
        return [path for path in paths if not path.is_file()]

    def write_manifest(self, fingerprint: str, shards: Iterable[Path]) -> Manifest:
        """Names the shards that make up the table, and removes other shards beside them.

        Raises WarehouseError where a shard is missing, damaged or of another spec, where the shards
        overlap or leave a gap in the sequences, and where the manifest that is there names another
        file for the same sequences.
        """
        paths = sorted(shards)
        with one_clear_line(f"write the manifest of {self.table} for {self.run_id}"):
            refuse_gap(self.table, self.run_id, paths)
            entries = []
            for path in paths:
                if not is_intact(path, afresh=True) or shard_fingerprint(path) != fingerprint:
                    raise WarehouseError(
                        f"{path} is missing, damaged or measured for another spec: {MEASURE_AGAIN}"
                    )
                entries.append(entry_of(path))
            manifest = self._manifest(fingerprint, entries)
            self._refuse_other(manifest)
            write_json(self.manifest_path, manifest)
            self._remove_shards_but({path.name for path in paths})
        return manifest

    def verify(self) -> Manifest:
        """Reads every shard and compares it with its checksum; DamagedError names a changed one."""
        manifest = self.complete_manifest()
        plan = require_plan(self.warehouse, self.run_id)
        ranges = [range_of(shard["file"]) for shard in manifest["shards"]]
        of_plan = (plan.fingerprint, plan.ranges(self.table, self.part))
        if (manifest["spec_fingerprint"], ranges) != of_plan:
            raise WarehouseError(
                f"the manifest of {self.table} for {self.run_id} is not that of the run's plan: "
                "measure it again with --restart"
            )

        def verify(shard: dict[str, Any]) -> None:
            path = self.folder / shard["file"]
            if not path.is_file():
                raise DamagedError(f"{path} is gone: {MEASURE_AGAIN}")
            if checksum_in(path.name) != shard["sha256"] or not is_intact(path, afresh=True):
                raise DamagedError(
                    f"{path} is damaged, it is not what was measured: {MEASURE_AGAIN}"
                )

        with ThreadPoolExecutor() as pool:
            for _ in pool.map(verify, manifest["shards"]):
                pass
        return manifest

    def withdraw(self, shards: Iterable[Path]) -> None:
        """Removes shards that are to be measured anew, the manifest that may name them first."""
        shards = list(shards)
        with one_clear_line(f"withdraw shards of {self.run_id}"):
            if shards:
                self.manifest_path.unlink(missing_ok=True)
            store_of(self.warehouse).remove(shards)
            for path in shards:
                path.unlink(missing_ok=True)

    def drop(self) -> None:
        """Removes the shards; the manifest stays and says so, before the first one goes."""
        manifest = self.complete_manifest()
        with one_clear_line(f"drop the shards of {self.run_id}"):
            write_json(self.manifest_path, manifest | {"dropped": True})
            self._remove_shards_but(set())

    def remove(self) -> None:
        """Removes the folder, the manifest first."""
        with one_clear_line(f"remove the facts of {self.run_id}"):
            if not self.manifest_path.is_dir():
                self.manifest_path.unlink(missing_ok=True)
            store_of(self.warehouse).remove_folder(self.folder)
            shutil.rmtree(self.folder, ignore_errors=False, onerror=_gone_is_fine)

    def _manifest(self, fingerprint: str, entries: list[dict[str, Any]]) -> Manifest:
        return {
            "table": self.table,
            "run_id": self.run_id,
            "spec_fingerprint": fingerprint,
            "dropped": False,
            "shards": entries,
        }

    def _manifest_of_part(self) -> Manifest:
        plan = require_plan(self.warehouse, self.run_id)
        entries = []
        for start, stop in plan.ranges(self.table, self.part):
            path = self.intact(start, stop, plan.fingerprint)
            if path is None:
                raise WarehouseError(
                    f"of {self.run_id}, sequences {start} to {stop - 1} of {self.table} are "
                    f"missing or damaged: {MEASURE_AGAIN}"
                )
            entries.append(entry_of(path))
        return self._manifest(plan.fingerprint, entries)

    def _there(self) -> list[Path]:
        return sorted(self.folder.iterdir()) if self.folder.is_dir() else []

    def _remove_shards_but(self, keep: set[str]) -> None:
        """Removes shards that do not count; a damaged one is set aside, for whoever asks why."""
        gone = [path for path in self.shards() if path.name not in keep]
        store_of(self.warehouse).remove(gone)
        for path in gone:
            if is_intact(path):
                path.unlink(missing_ok=True)
            else:
                set_aside(path)

    def _refuse_other(self, new: Manifest) -> None:
        """No entry of a manifest ever replaces another checksum of the same sequences."""
        there = self.manifest()
        if not there or there["dropped"] or there["spec_fingerprint"] != new["spec_fingerprint"]:
            return
        named = {range_of(shard["file"]): shard["sha256"] for shard in there["shards"]}
        for shard in new["shards"]:
            if named.get(range_of(shard["file"])) not in (None, shard["sha256"]):
                raise WarehouseError(
                    f"{shard['file']} of {self.table} is not the file that the manifest names for "
                    f"these sequences: set it aside with `selfrepair doctor --repair`, or measure "
                    f"{self.run_id} again with --restart"
                )


def _gone_is_fine(_function: Any, _path: str, info: Any) -> None:
    if not isinstance(info[1], FileNotFoundError):
        raise info[1]

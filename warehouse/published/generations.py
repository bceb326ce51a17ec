"""The generations of the published file, and how one takes the place of the last.

    <warehouse>/selfrepair.duckdb  ->  generations/selfrepair-000007.duckdb
                                       generations/selfrepair-000007.duckdb.sha256

1. Under the publishers' lock, the next generation is built under a name that nobody opens.
2. It is closed (so that no `.wal` stays), synced, and gets its final name and its checksum, and
   those of the files outside that it names (`outside.py`), which `sha256sum --check` reads too.
3. The stable name, a symlink, is swapped to it by one `rename`.
4. All but the newest two generations are removed, but for those that somebody reads and that
   name files outside. Then the files outside that no generation names. Whoever has an older
   generation open goes on reading it.

Killed anywhere, the stable name still leads to a whole generation; what was being built is
removed by the next publisher. A generation is copied into the next one only where its bytes are
those that were published (`Last`).
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb

from selfrepair.warehouse.connection import Progress
from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.locks import held
from selfrepair.warehouse.paths import TEMPORARY, Warehouse, sync, written_whole
from selfrepair.warehouse.published import outside
from selfrepair.warehouse.published.readers import unread
from selfrepair.warehouse.sealed import checksum_in, is_sealed, set_aside, sha256
from selfrepair.warehouse.sql_parsing import literal

KEPT = 2
NAME = re.compile(r"selfrepair-(\d{6,})\.duckdb")
SUM = re.compile(r"([0-9a-f]{64})  (selfrepair-\d{6,}\.duckdb|\.\./.+)")


def current(warehouse: Warehouse) -> Path | None:
    """The generation that the stable name leads to; None where nothing is published."""
    with one_clear_line(f"read {warehouse.serving}"):
        try:
            target = os.readlink(warehouse.serving)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise WarehouseError(
                f"{warehouse.serving} is not the link that publishing makes: move it away"
            ) from error
    return warehouse.root / target


def number_of(generation: Path) -> int:
    found = NAME.fullmatch(generation.name)
    if not found:
        raise WarehouseError(f"{generation} is not a generation: publish again")
    return int(found[1])


def building(warehouse: Warehouse, number: int) -> Path:
    """The name of a generation that is being built; nobody else opens it."""
    return warehouse.generations / f"selfrepair-{number:06d}.building"


@dataclass(frozen=True)
class Last:
    """The generation that the next one is made from, and what is known of its bytes.

    state: "whole" (they are those that were published, and the files outside are there), "changed"
        (they are not: damaged, lost, or written to by another program), "unproven" (its checksum
        is lost, or an older version published it), "older" (the served one is gone, and this one
        came before it).
    """

    path: Path
    state: Literal["whole", "changed", "unproven", "older"]


def last(warehouse: Warehouse) -> Last | None:
    """The served generation; where the stable name is lost or leads nowhere, the newest there is.

    None where there is none. Reads the whole file.
    """
    served = current(warehouse)
    if served and served.is_file():
        return Last(served, _state(served))
    there = [p for p in _generations(warehouse) if p.is_file()]
    newest = max(there, key=number_of, default=None)
    if newest is None:
        return None
    return Last(newest, "older" if served else _state(newest))


def checksum_file(generation: Path) -> Path:
    """Beside a generation: its SHA-256 when it was published, as `sha256sum` writes it.

    And, a line for each, those of the files outside that it names.
    """
    return generation.with_name(f"{generation.name}.sha256")


def outside_of(generation: Path) -> list[Path]:
    """The files beside the published file that hold rows of a generation."""
    return [path for path in _sums(generation) or {} if path != generation]


def _sums(generation: Path) -> dict[Path, str] | None:
    """What a generation consists of, each file with its checksum; None where that is lost."""
    try:
        text = checksum_file(generation).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    sums = {}
    for line in text.splitlines():
        found = SUM.fullmatch(line)
        if not found:
            return None
        if found[2] == generation.name:
            sums[generation] = found[1]
        elif is_sealed(found[2]) and checksum_in(found[2]) == found[1]:
            sums[generation.parents[1] / found[2][3:]] = found[1]
        else:
            return None
    return sums if generation in sums and text.endswith("\n") else None


def _named_in(generation: Path) -> set[Path] | None:
    """The files outside that a generation itself names; None where it cannot be read."""
    try:
        with duckdb.connect() as connection, attached(connection, generation, "served"):
            rows = connection.execute("select file from served.parquet_files").fetchall()
    except duckdb.CatalogException:  # an older version made it
        return set()
    except (duckdb.Error, WarehouseError):
        return None
    return {generation.parents[1] / file for (file,) in rows}


def _state(generation: Path) -> Literal["whole", "changed", "unproven"]:
    sums = _sums(generation)
    if sums is None:
        return "unproven"
    with one_clear_line(f"read {generation}"):
        if not all(path.is_file() for path in sums) or sha256(generation) != sums[generation]:
            return "changed"
        return "whole" if _named_in(generation) == sums.keys() - {generation} else "unproven"


@contextmanager
def publishing(warehouse: Warehouse, progress: Progress) -> Iterator[tuple[int, Last | None]]:
    """Holds the publishers' lock, cleans up after killed ones; gives the next number and the last.

    The last generation may be changed or lost: what is made of that is the publisher's to say.
    """
    busy = "another publisher is at work ({holder}): wait until it is done"
    with held(warehouse.lock, busy, waiting=lambda: progress(0.0, "waiting for another publisher")):
        progress(0.0, "verifying the last generation")
        before = last(warehouse)
        there, served = _generations(warehouse), current(warehouse)
        known = [*there, served] if served else there  # also one that is gone: no number comes back
        number = max(map(number_of, known), default=0) + 1
        for path in there:
            if before is None or number_of(path) > number_of(before.path):
                if path.is_file() and _state(path) == "whole":  # never served
                    _remove(path)
                else:
                    set_aside(path)
        remove_leftovers(warehouse)
        yield number, before


def remove_leftovers(warehouse: Warehouse) -> list[Path]:
    """Removes what killed publishers left; only who holds the publishers' lock may."""
    found = leftovers(warehouse)
    for path in found:
        if path.is_relative_to(warehouse.outside):
            outside.remove(path)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return found


def leftovers(warehouse: Warehouse) -> list[Path]:
    """What a publisher was building, and has not finished; files outside that nothing names."""
    return [
        *warehouse.generations.glob("*.building*"),
        *warehouse.generations.glob(f"*{TEMPORARY}*"),
        *warehouse.root.glob(f"{warehouse.serving.name}{TEMPORARY}*"),
        *_unnamed(warehouse),
        *_obsolete_lists(warehouse),
    ]


def _obsolete_lists(warehouse: Warehouse) -> list[Path]:
    """The checksums of generations that are gone, not set aside, and older than one that is there.

    Those are kept that name files of a run which is there, but not in the newest generation.
    """
    newest = max(_generations(warehouse), key=number_of, default=None)
    if newest is None:
        return []
    runs = {f"run={path.name}" for path in warehouse.root.glob("runs/*")}
    unpublished = runs - {file.parent.name for file in _named_in(newest) or ()}
    found = [list_.with_suffix("") for list_ in warehouse.generations.glob("*.duckdb.sha256")]
    older = [p for p in found if NAME.fullmatch(p.name) and number_of(p) < number_of(newest)]
    gone = [p for p in older if [*p.parent.glob(f"{p.name}*")] == [checksum_file(p)]]
    needed = {p for p in gone for file in _sums(p) or () if file.parent.name in unpublished}
    return [checksum_file(p) for p in gone if p not in needed]


def _unnamed(warehouse: Warehouse) -> list[Path]:
    """The files outside that no generation names; none where one does not say what it names.

    Nor where there is no generation at all: they may be all that is left of a run. What a
    generation named that is lost, or set aside, is still named by its list of checksums.
    """
    there = _generations(warehouse)
    named = [_named_in(generation) for generation in there]
    if not there or None in named or not warehouse.outside.is_dir():
        return []
    lists = {*warehouse.generations.glob("*.duckdb.sha256")} - {*_obsolete_lists(warehouse)}
    known = {path for paths in named for path in paths or ()}
    known |= {path for list_ in lists for path in _sums(list_.with_suffix("")) or ()}
    return [
        path
        for path in warehouse.outside.glob("*/run=*/*")
        if path not in known and (is_sealed(path.name) or TEMPORARY in path.name)
    ]


@contextmanager
def attached(connection: duckdb.DuckDBPyConnection, generation: Path, name: str) -> Iterator[None]:
    """Attaches a generation read-only; WarehouseError where someone has it open for writing."""
    try:
        connection.execute(f"attach {literal(generation)} as {name} (read_only)")
    except duckdb.IOException as error:
        if "lock" not in str(error):
            raise
        raise WarehouseError(
            "the published file is open for writing in another program: "
            "close it there (and open it with `duckdb -readonly`), then publish again"
        ) from error
    try:
        yield
    finally:
        connection.execute(f"detach {name}")


def serve(
    warehouse: Warehouse, building: Path, number: int, files: list[str], kept: int = KEPT
) -> Path:
    """Gives a closed, checkpointed file its final name, and leads the stable name to it.

    files: those outside that it names, as paths from the warehouse's folder.
    kept: how many generations stay, and those that somebody reads.
    """
    final = warehouse.generation(number)
    if Path(f"{building}.wal").exists():
        raise WarehouseError(f"{building} was not closed: a write-ahead log is beside it")
    sync(building)
    # A log left by a killed writer would be replayed into, or refused by, the new file.
    Path(f"{final}.wal").unlink(missing_ok=True)
    with written_whole(checksum_file(final)) as temporary:
        sums = [f"{sha256(building)}  {final.name}"]
        sums += [f"{checksum_in(file)}  ../{file}" for file in files]
        temporary.write_text("\n".join(sums) + "\n", encoding="utf-8")
    os.replace(building, final)
    sync(warehouse.generations)
    Path(f"{warehouse.serving}.wal").unlink(missing_ok=True)
    link = warehouse.root / f"{warehouse.serving.name}{TEMPORARY}{os.getpid()}"
    link.unlink(missing_ok=True)
    link.symlink_to(final.relative_to(warehouse.root))
    os.replace(link, warehouse.serving)
    sync(warehouse.root)
    remove_old(warehouse, kept)
    return final


def remove_old(warehouse: Warehouse, kept: int) -> None:
    """Removes all but the newest generations, and files outside that none names any longer.

    Only who holds the publishers' lock may.
    """
    for path in sorted(_generations(warehouse), key=number_of)[:-kept]:
        with suppress(OSError):  # the new one is served already; the next publisher tries again
            if len(_sums(path) or ()) == 1:  # it names nothing outside: an open file is enough
                _remove(path)
            else:
                with unread(path):
                    _remove(path)
    with suppress(OSError):
        remove_leftovers(warehouse)


def _remove(generation: Path) -> None:
    for path in (generation, checksum_file(generation), Path(f"{generation}.wal")):
        path.unlink(missing_ok=True)


def _generations(warehouse: Warehouse) -> list[Path]:
    if not warehouse.generations.is_dir():
        return []
    return [path for path in warehouse.generations.iterdir() if NAME.fullmatch(path.name)]

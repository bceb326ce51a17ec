"""Files that tell damage from data: each carries a checksum from the moment it was written.

    sequences-000000-000016.3f0a…e1.parquet    the SHA-256 of its bytes is in its name
    manifest.json, run.json                    {"sha256": …, …}: of the other keys

The checksum is that of the bytes on their way to the disk, not of what was found there later, and
it gets its place in the same rename as the file: no file is there without it. A file that is not
what was written is never repaired or overwritten: it is set aside under a name that says so, and
measured again.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.paths import temporary_beside, written_whole

DAMAGED = ".damaged-"
SEALED = re.compile(r"(?P<stem>[^.]+)\.(?P<sha256>[0-9a-f]{64})(?P<suffix>\.[a-z]+)")

_verified: dict[Path, tuple[int, ...]] = {}
"""Files whose bytes this process has read and found right, and what `stat` said of them then."""


class DamagedError(WarehouseError):
    """A file is not what was written; the message names it and says what heals it."""


class _HashedFile:
    """A file that is written once, from its beginning to its end, and hashed on the way."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        self._file.write(data)
        return memoryview(data).nbytes

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()


def write_sealed(folder: Path, stem: str, suffix: str, write: Callable[[Any], None]) -> Path:
    """Writes `<stem>.<sha256><suffix>` whole or not at all, and returns its path.

    write: is given a file that can only be written to, from its beginning to its end.

    The same bytes have the same name: what is in its place and is not those bytes (they rotted, or
    it is a folder) is set aside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with temporary_beside(folder / f"{stem}{suffix}") as (temporary, put):
        with temporary.open("wb") as file:
            hashed = _HashedFile(file)
            write(hashed)
        final = folder / f"{stem}.{hashed.sha256.hexdigest()}{suffix}"
        if os.path.lexists(final) and not is_intact(final, afresh=True):
            set_aside(final)
        put(final)
    return final


def sealed_files(folder: Path, stem: str, suffix: str) -> list[Path]:
    """The files that were written under that name, intact or not, in the order of their names."""
    if not folder.is_dir():
        return []
    found = ((path, SEALED.fullmatch(path.name)) for path in sorted(folder.iterdir()))
    return [
        path for path, name in found if name and (name["stem"], name["suffix"]) == (stem, suffix)
    ]


def intact_file(folder: Path, stem: str, suffix: str) -> Path | None:
    """The file of that name whose bytes are those that were written; None where there is none."""
    return next((path for path in sealed_files(folder, stem, suffix) if is_intact(path)), None)


def is_intact(path: Path, *, afresh: bool = False) -> bool:
    """Whether a file has the bytes that its name says; False also where it is gone or unreadable.

    They are read once in a process, until `stat` says that the file is another; `afresh` reads
    them again whatever it says.
    """
    name = SEALED.fullmatch(path.name)
    try:
        seen = path.stat()
        stamp = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
        if not afresh and _verified.get(path) == stamp:
            return True
        right = name is not None and sha256(path) == name["sha256"]
    except OSError:
        right = False
    if right:
        _verified[path] = stamp
    else:
        _verified.pop(path, None)
    return right


def is_sealed(name: str) -> bool:
    """Whether a file's name, or path, is that of a sealed file; its bytes are not looked at."""
    return SEALED.fullmatch(Path(name).name) is not None


def checksum_in(name: str) -> str:
    """The checksum that a sealed file's name, or path, carries."""
    return Path(name).name.split(".")[1]


def sha256(path: Path) -> str:
    """Hex digest of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def set_aside(path: Path) -> Path:
    """Gives a damaged file (or whatever is in its place) a name that says so; nobody reads that."""
    now = datetime.now(UTC)
    aside = path.with_name(f"{path.name[:180]}{DAMAGED}{now:%Y%m%dT%H%M%S%f}")
    with one_clear_line(f"set {path} aside"):
        os.replace(path, aside)
    return aside


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object with the checksum of its content, whole or not at all."""
    if path.is_dir():
        set_aside(path)
    text = json.dumps({"sha256": _digest(value), **value}, indent=1)
    with written_whole(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path, what_to_do: str) -> dict[str, Any] | None:
    """What `write_json` wrote there; None where there is no file.

    what_to_do: the end of the message, for a file that is damaged.
    Raises DamagedError where it is not what was written, WarehouseError where it cannot be read.
    """
    with one_clear_line(f"read {path}"):
        if path.is_dir():
            raise DamagedError(f"{path} is a folder, not the file that was written: {what_to_do}")
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
    try:
        value = json.loads(data)
        right = value.pop("sha256") == _digest(value)
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        right = False
    if not right:
        raise DamagedError(f"{path} is damaged: {what_to_do}")
    return dict(value)


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

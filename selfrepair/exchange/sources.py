"""Where an export is read from: a folder here, or an address of the web. Neither is trusted."""

from __future__ import annotations

import hashlib
import os
import stat
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from selfrepair.exchange.layout import RefusedError

PIECE = 2**20
PATIENCE = 60  # seconds without a byte from the web
Opened = Callable[[str], BinaryIO]


def source(place: str) -> tuple[Opened, bool]:
    """What opens a file of an export by its name, and whether all of it is here already.

    Raises RefusedError where the place is neither a folder nor an https:// or http:// address.
    """
    scheme = urllib.parse.urlsplit(place).scheme
    if scheme in ("https", "http"):
        return lambda name: _of_the_web(place, name), False
    if not place or not Path(place).is_dir():  # Path("") is the folder that one is in
        raise RefusedError(f"{place!r} is neither a folder nor an https:// address")
    return lambda name: _of_folder(Path(place), name), True


def read_whole(opened: Opened, name: str, most: int) -> bytes:
    """A small file. Raises RefusedError where it has more than `most` bytes."""
    with _clear(name), opened(name) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise RefusedError(f"{name} has more than {most:,} bytes")
    return data


def copied(opened: Opened, name: str, to: Path | None, sha256: str, most: int) -> None:
    """Copies a file (to None: only reads it).

    Raises RefusedError where it has more than `most` bytes or not that checksum.
    """
    size, digest = 0, hashlib.sha256()
    with _clear(name), opened(name) as file, open(to or os.devnull, "wb") as copy:
        while piece := file.read(PIECE):
            size += len(piece)
            if size > most:
                raise RefusedError(f"{name} has more than the {most:,} bytes there is room for")
            digest.update(piece)
            copy.write(piece)
    if digest.hexdigest() != sha256:
        raise RefusedError(f"{name} is not what was exported: its checksum is another")


@contextmanager
def _clear(name: str) -> Iterator[None]:
    """Turns what can go wrong in reading a file into the one line."""
    try:
        yield
    except (OSError, HTTPException, ValueError) as error:
        said = str(error).splitlines()[:1] or [type(error).__name__]
        raise RefusedError(f"{name} cannot be read: {said[0]}") from None


def _of_folder(root: Path, name: str) -> BinaryIO:
    """A regular file below the folder, to which no link leads."""
    path = root / name
    if path.resolve() != root.resolve() / name:
        raise RefusedError(f"{name} is a link, and an export has none")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RefusedError(f"{name} is not a file")
    return os.fdopen(descriptor, "rb")


def _of_the_web(address: str, name: str) -> BinaryIO:
    split = urllib.parse.urlsplit(address)
    path = f"{split.path.rstrip('/')}/{urllib.parse.quote(name)}"
    whole = urllib.parse.urlunsplit(split._replace(path=path))
    return urllib.request.urlopen(whole, timeout=PATIENCE)

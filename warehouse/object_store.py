"""Objects of a store such as S3 in which the facts lie too: `--facts s3://bucket/prefix`.

    <prefix>/facts/<table>/run=<slug>/sequences-000000-000016.<sha256>.parquet
    <prefix>/runs/<slug>/run.json, tokens.<sha256>.npy, bf16-sequences-….json, …

Names are those of the warehouse's folder. A file is written there first, whole or not at all, and
then put; what is not in the folder is got. So machines that share no folder measure one run, and a
run goes on where another machine has stopped. What is got has the checksum that it was written
with (warehouse/sealed.py): half an object, or a changed one, is as good as none.

Manifests and the published file are of the folder alone: both are made of what is here. So are
locks, Dagster's history and spill folders, which say nothing of another machine's processes.
"""

import logging
import re
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from functools import lru_cache
from pathlib import Path

from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.locks import held
from selfrepair.warehouse.paths import Warehouse, written_whole
from selfrepair.warehouse.sealed import (
    SEALED,
    DamagedError,
    is_intact,
    read_json,
    set_aside,
    write_json,
)

logger = logging.getLogger(__name__)
OPTION, FACTS = "--facts", "SELFREPAIR_FACTS"
FRESH = 1.0
"""Seconds in which a folder's objects are not listed again, but for `look_anew`."""


class NoStore:
    """The folder alone."""

    address: str | None = None

    def get(self, folder: Path, stem: str, suffix: str) -> bool:
        """Gets what is there under a name, `<stem><suffix>` or sealed, and not in the folder.

        Returns whether there was anything.
        """
        return False

    def look_anew(self) -> None:
        """Lists objects anew from now on: somebody has told of new ones."""

    def put(self, path: Path) -> None:
        """Puts a file of the folder, whole or not at all; one that is damaged is not put."""

    def keep(self, path: Path) -> None:
        """Puts a file that is not there, or of another size: its writer was killed meanwhile."""

    def remove(self, paths: Iterable[Path]) -> None:
        """Removes objects; before their files, so that none comes back."""

    def remove_folder(self, folder: Path) -> None:
        """Removes all objects of a folder, and of those in it."""


class ObjectStore(NoStore):
    """The objects beside a warehouse's folder.

    Raises WarehouseError where the store does not answer.
    """

    def __init__(self, root: Path, address: str) -> None:
        """address: such as s3://bucket/prefix, with options as pyarrow takes them."""
        self.root, self.address, self._name = root, address, address.partition("?")[0]
        self._listed: dict[Path, tuple[float, dict[str, int]]] = {}
        if not re.match("s3://[^/?]", address):
            raise WarehouseError(f"{OPTION} '{address}' is no address such as s3://bucket/prefix")
        from pyarrow import fs  # it starts threads, which a fork would lack

        with self._told("open it"):
            self._files, self._base = fs.FileSystem.from_uri(address)

    def refuse_lost_bucket(self) -> None:
        bucket = self._base.partition("/")[0]
        with self._told("look into it"):
            if not self._files.get_file_info(bucket).type:  # FileType.NotFound is 0
                raise WarehouseError(f"{OPTION} {self._name}: there is no bucket {bucket}")

    def get(self, folder: Path, stem: str, suffix: str) -> bool:
        wanted = []
        for name in sorted(self._sizes(folder)):
            found = SEALED.fullmatch(name)
            sealed = found and (found["stem"], found["suffix"]) == (stem, suffix)
            if (sealed or name == stem + suffix) and not (folder / name).exists():
                wanted.append(name)
        for name in wanted:
            self._get(folder / name)
        return bool(wanted)

    def look_anew(self) -> None:
        self._listed.clear()

    def put(self, path: Path) -> None:
        if not _is_proved(path):
            return
        data = path.read_bytes()
        with self._told(f"put {path.name}"), self._files.open_output_stream(self._key(path)) as out:
            out.write(data)
        if path.parent in self._listed:
            self._listed[path.parent][1][path.name] = len(data)

    def keep(self, path: Path) -> None:
        size = path.stat().st_size
        known = self._listed.get(path.parent, (0.0, dict[str, int]()))[1]
        if size != known.get(path.name) and size != self._sizes(path.parent).get(path.name):
            self.put(path)

    def remove(self, paths: Iterable[Path]) -> None:
        for path in paths:
            with self._told(f"remove {path.name}"), suppress(FileNotFoundError):
                self._files.delete_file(self._key(path))
            self._listed.pop(path.parent, None)

    def remove_folder(self, folder: Path) -> None:
        with self._told(f"remove {folder.name}"):
            self._files.delete_dir_contents(self._key(folder), missing_dir_ok=True)
        self._listed.clear()

    def _get(self, path: Path) -> None:
        with self._told(f"get {path.name}"), self._files.open_input_file(self._key(path)) as file:
            data = file.read()
        with one_clear_line(f"write {path}"), written_whole(path) as temporary:
            temporary.write_bytes(data)
        if not _is_proved(path):
            logger.warning(f"{path.name} is damaged in {self._name}: it is made or measured again")
            path.unlink()

    def _sizes(self, folder: Path) -> dict[str, int]:
        """The bytes of a folder's objects by name, as they were at most `FRESH` seconds ago."""
        asked, sizes = self._listed.get(folder, (-FRESH, dict[str, int]()))
        if time.monotonic() - asked > FRESH:
            from pyarrow import fs

            selector = fs.FileSelector(self._key(folder), allow_not_found=True)
            with self._told("look into it"):
                found = self._files.get_file_info(selector)
            sizes = {info.base_name: info.size for info in found if info.is_file}
            self._listed[folder] = time.monotonic(), sizes
        return sizes

    def _key(self, path: Path) -> str:
        return f"{self._base.rstrip('/')}/{path.relative_to(self.root).as_posix()}"

    def _told(self, doing: str) -> AbstractContextManager[None]:
        return one_clear_line(f"{doing} ({self._name})")


def store_of(warehouse: Warehouse) -> NoStore:
    """Where the facts of a warehouse lie besides its folder."""
    noted = read_json(_note(warehouse), f"repeat the run with {OPTION}")
    return _store(warehouse.root, str(noted["address"])) if noted else NoStore()


def keep_facts_at(warehouse: Warehouse, address: str) -> bool:
    """Has the facts of a warehouse lie in a store from now on; returns whether that is new.

    A note that is damaged is set aside and written anew.
    Raises WarehouseError where they lie in another, where the address is none or holds keys, and
    where the store does not answer.
    """
    if "@" in address.partition("?")[0] or re.search("(access|secret)_key=", address):
        raise WarehouseError(
            f"the address of {OPTION} holds keys, and is kept and shown: give them as "
            "$AWS_ACCESS_KEY_ID and $AWS_SECRET_ACCESS_KEY"
        )
    _store(warehouse.root, address).refuse_lost_bucket()
    warehouse.prepare()
    with _choosing(warehouse):
        try:
            there = store_of(warehouse).address
        except DamagedError as error:
            aside = set_aside(_note(warehouse))
            logger.warning(f"{error} (it is now {aside.name})")
            there = None
        if there not in (None, address):
            raise WarehouseError(
                f"the facts of {warehouse.root} are in {there}: leave {OPTION} out, "
                "or choose another --warehouse"
            )
        if there is None:
            write_json(_note(warehouse), {"address": address})
        return there is None


def keep_facts_here(warehouse: Warehouse) -> None:
    """Forgets the store of a warehouse, unless a run was begun there, by another command too."""
    with _choosing(warehouse):
        if not any((warehouse.root / "runs").glob("[!.]*")):
            _note(warehouse).unlink(missing_ok=True)


def _choosing(warehouse: Warehouse) -> AbstractContextManager[None]:
    """One command at a time says where the facts lie."""
    busy = "another command ({holder}) chooses where the facts lie: repeat this one"
    return held(warehouse.root / "facts.lock", busy, waiting=lambda: None)


def _is_proved(path: Path) -> bool:
    """Whether a file has the checksum that it was written with."""
    if SEALED.fullmatch(path.name):
        return is_intact(path)
    try:
        return read_json(path, "") is not None
    except DamagedError:
        return False


def _note(warehouse: Warehouse) -> Path:
    return warehouse.root / "facts.json"


@lru_cache
def _store(root: Path, address: str) -> ObjectStore:
    return ObjectStore(root, address)

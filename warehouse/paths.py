"""Where everything of a warehouse lies, and how a file gets there whole."""

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from selfrepair.warehouse.errors import WarehouseError, one_clear_line

DEFAULT_ROOT = Path("warehouse/data")
LONGEST_SLUG = 150  # bytes; file systems stop at 255 for a name, and others are made from it
TEMPORARY = ".tmp-"


def slug(run_id: str) -> str:
    """A run's name as one file name: percent-encoded, a hash of it at the end where it is long.

    No two run_ids share a slug. A leading dot is encoded too, so that ".." stays a plain name.
    Raises WarehouseError for an empty name (an unset shell variable), which would be the folder of
    all runs, and for one that is no text.
    """
    if not run_id.strip():
        raise WarehouseError("the name of the run is empty: selfrepair status lists them")
    try:
        name = quote(run_id, safe="")
    except UnicodeEncodeError:
        raise WarehouseError(f"the name of the run is no text: {run_id!r:.100}") from None
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > LONGEST_SLUG:
        digest = hashlib.sha256(run_id.encode()).hexdigest()[:16]
        name = f"{name[: LONGEST_SLUG - 17]}={digest}"  # a sign that is in no other slug
    return name


class Warehouse:
    """The folder of a warehouse; nothing is created before `prepare`.

    root: the folder; default $SELFREPAIR_WAREHOUSE, else warehouse/data where the program runs.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        if root is not None and not str(root).strip():
            raise WarehouseError(
                "the warehouse's folder is empty text: name a folder (--warehouse)"
            )
        chosen = root or os.environ.get("SELFREPAIR_WAREHOUSE") or DEFAULT_ROOT
        self.root = Path(chosen).expanduser().absolute()
        patterns = sorted(set(str(self.root)) & set("*?\\"))
        if patterns:
            raise WarehouseError(
                f"the warehouse's folder {self.root} has {' and '.join(patterns)} in its name, "
                "which DuckDB takes for a pattern of names: choose another (--warehouse)"
            )

    def __repr__(self) -> str:
        return f"Warehouse({str(self.root)!r})"

    @property
    def serving(self) -> Path:
        """The stable name: a symlink to the newest generation."""
        return self.root / "selfrepair.duckdb"

    @property
    def generations(self) -> Path:
        return self.root / "generations"

    @property
    def lock(self) -> Path:
        """Held (flock) while a generation is built, so that publishers queue."""
        return self.root / "publish.lock"

    @property
    def scratch(self) -> Path:
        """Where DuckDB may spill; a folder per process."""
        return self.root / "scratch"

    @property
    def is_made(self) -> bool:
        """Whether the folder is there already."""
        return (self.root / "runs").is_dir()

    def generation(self, number: int) -> Path:
        return self.generations / f"selfrepair-{number:06d}.duckdb"

    def facts(self, table: str, run_id: str) -> Path:
        """The folder of one run's shards of one table."""
        return self.root / "facts" / table / f"run={slug(run_id)}"

    @property
    def outside(self) -> Path:
        """The rows of large published runs, which lie beside the published file."""
        return self.root / "published"

    def published(self, table: str, run_id: str) -> Path:
        """The folder of one run's rows of one table or stored result that lie outside."""
        return self.outside / table / f"run={slug(run_id)}"

    def run_folder(self, run_id: str) -> Path:
        """The folder that says what a run is: its spec, plan and tokens."""
        return self.root / "runs" / slug(run_id)

    def run_lock(self, run_id: str) -> Path:
        """Held while a run is measured; beside its folder, which --restart removes."""
        return self.root / "runs" / f".{slug(run_id)}.lock"  # no slug begins with a dot

    def prepare(self) -> "Warehouse":
        """Creates the folders; WarehouseError where they cannot be made or written to."""
        with one_clear_line(f"use {self.root} as a warehouse"):
            if self.root.exists() and not self.root.is_dir():
                raise WarehouseError(
                    f"the warehouse {self.root} is a file: choose a folder (--warehouse DIR)"
                )
            for folder in ("generations", "facts", "runs"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root) as probe:  # it has no name, whatever happens
                probe.write(b"is there room for a file?\n" * 1024)
                probe.flush()
        return self


@contextmanager
def written_whole(final: Path) -> Iterator[Path]:
    """Gives a temporary name beside `final`; at the end the file has its final name, or none.

    The bytes are on the disk before the name is, and the name before this returns (file and folder
    are fsynced). A process killed meanwhile leaves only a `*.tmp-*` file, which nobody reads, and
    which goes when somebody holds the lock that its writer held.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    with temporary_beside(final) as (temporary, put):
        yield temporary
        put(final)


@contextmanager
def temporary_beside(near: Path) -> Iterator[tuple[Path, Callable[[Path], None]]]:
    """A temporary name beside `near`, and what gives that file its final name in the same folder.

    For a file whose name is known only when it is written; `written_whole` is for the others.
    """
    temporary = near.with_name(f"{near.name}{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}")

    def put(final: Path) -> None:
        sync(temporary)
        os.replace(temporary, final)
        sync(final.parent)

    try:
        yield temporary, put
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """fsync of a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy(file: Path, to: Path) -> None:
    """Copies a file; where the file system can share blocks, no bytes are moved."""
    with file.open("rb") as source, to.open("wb") as target:
        try:
            while os.copy_file_range(source.fileno(), target.fileno(), 2**30):
                pass
        except OSError:  # not on this kernel, file system, or across two of them
            source.seek(0)
            target.seek(0)
            target.truncate()
            shutil.copyfileobj(source, target, 2**24)

"""Where everything of a warehouse lies, and how a file gets there whole."""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from warehouse.errors import WarehouseError, one_clear_line

DEFAULT_ROOT = Path("warehouse/data")
LONGEST_SLUG = 150  # bytes; file systems stop at 255 for a name, and others are made from it
TEMPORARY = ".tmp-"


def slug(run_id: str) -> str:
    """A run's name as one file name: percent-encoded, a hash of it at the end where it is long.

    No two run_ids share a slug. A leading dot is encoded too, so that ".." stays a plain name.
    Raises WarehouseError for an empty name (an unset shell variable): it would be the
    folder of all runs.
    """
    if not run_id.strip():
        raise WarehouseError("the name of the run is empty: selfrepair status lists them")
    name = quote(run_id, safe="")
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > LONGEST_SLUG:
        digest = hashlib.sha256(run_id.encode()).hexdigest()[:16]
        name = f"{name[: LONGEST_SLUG - 17]}-{digest}"
    return name


class Warehouse:
    """The folder of a warehouse; nothing is created before `prepare`.

    root: the folder; default $SELFREPAIR_WAREHOUSE, else warehouse/data where the program runs.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        chosen = root or os.environ.get("SELFREPAIR_WAREHOUSE") or DEFAULT_ROOT
        self.root = Path(chosen).expanduser().absolute()

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

    def generation(self, number: int) -> Path:
        return self.generations / f"selfrepair-{number:06d}.duckdb"

    def facts(self, table: str, run_id: str) -> Path:
        """The folder of one run's shards of one table."""
        return self.root / "facts" / table / f"run={slug(run_id)}"

    def run_folder(self, run_id: str) -> Path:
        """The folder that says what a run is: its spec, plan and tokens."""
        return self.root / "runs" / slug(run_id)

    def prepare(self) -> "Warehouse":
        """Creates the folders; WarehouseError where they cannot be made or written to."""
        with one_clear_line(f"use {self.root} as a warehouse"):
            if self.root.exists() and not self.root.is_dir():
                raise WarehouseError(
                    f"the warehouse {self.root} is a file: choose a folder (--warehouse DIR)"
                )
            for folder in ("generations", "facts", "runs"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            probe = self.root / f"probe{TEMPORARY}{os.getpid()}"
            try:
                probe.write_bytes(b"is there room for a file?\n" * 1024)
            finally:
                with suppress(OSError):
                    probe.unlink(missing_ok=True)
        return self


@contextmanager
def written_whole(final: Path) -> Iterator[Path]:
    """Gives a temporary name beside `final`; at the end the file has its final name, or none.

    The bytes are on the disk before the name is, and the name before this returns (file and folder
    are fsynced). A process killed meanwhile leaves only a `*.tmp-*` file, which nobody reads and
    the next writer of the same file removes.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    for leftover in final.parent.glob(f"{_escaped(final.name)}{TEMPORARY}*"):
        leftover.unlink(missing_ok=True)
    temporary = final.with_name(f"{final.name}{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, final)
        sync(final.parent)
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


def _escaped(name: str) -> str:
    """A file name with glob's special characters taken literally."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)

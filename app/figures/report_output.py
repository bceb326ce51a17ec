"""Where a report is written: what the user named, or nowhere."""

import os
import shutil
import stat
import sys
from pathlib import Path

from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.paths import Warehouse, written_whole

STDOUT = "-"


def refuse_output(output: str, warehouse: Warehouse) -> None:
    """Raises WarehouseError where a report cannot or must not be written; creates nothing."""
    if output == STDOUT:
        return
    if not output.strip():
        raise WarehouseError("--output is empty: name the file of the report, such as report.html")
    with one_clear_line(f"write {output}"):
        path = _place(output)
        kind = path.stat().st_mode if path.exists() else None
    if path.is_symlink() and not path.exists():
        raise WarehouseError(f"cannot write {output}: that link leads nowhere but to itself")
    if path.is_relative_to(warehouse.root.resolve()):
        raise WarehouseError(f"{output} is inside the warehouse: write the report beside it")
    if kind is None and not path.parent.is_dir():
        raise WarehouseError(f"cannot write {output}: make the folder {path.parent} first")
    if kind is not None and stat.S_ISDIR(kind):
        raise WarehouseError(f"{output} is a folder: name the file of the report in it")
    if kind is not None and (stat.S_ISBLK(kind) or stat.S_ISSOCK(kind)):
        raise WarehouseError(f"{output} is a device or a socket, which is no place for a report")


def write_output(output: str, text: str, warehouse: Warehouse) -> None:
    """Writes to what was named: a file whole or not at all; a pipe or a terminal as it comes.

    A link is followed, not replaced; a file that is there keeps its permissions; no folder is made.
    Raises WarehouseError.
    """
    refuse_output(output, warehouse)
    if output == STDOUT:
        sys.stdout.write(text)
        return
    path = _place(output)
    try:
        if path.exists() and not path.is_file():
            # Without waiting for somebody who reads the pipe: there may never be one.
            opened = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            with os.fdopen(opened, "w", encoding="utf-8") as file:
                os.set_blocking(file.fileno(), True)
                file.write(text)
            return
        if path.exists() and not os.access(path, os.W_OK):
            raise WarehouseError(f"cannot write {output}: it is read-only")
        with written_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
            if path.exists():
                shutil.copymode(path, temporary)
    except OSError as error:
        raise WarehouseError(f"cannot write {output}: {error.strerror or error}") from error


def _place(output: str) -> Path:
    """What the name leads to, links followed; a pipe (/dev/stdout) has no name but its own."""
    named = Path(output).expanduser()
    is_special = named.exists() and not named.is_file() and not named.is_dir()
    return named if is_special else Path(os.path.realpath(named))

"""A report is written to what the user named, or refused; nothing else is touched."""

import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from selfrepair.app.figures.report_output import refuse_output, write_output
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from tests.helpers.runs.cli_runs import as_nobody

TEXT = "<html>" + "x" * 100_000 + "</html>"


def write(warehouse: Warehouse, path: Path | str, text: str = TEXT) -> None:
    write_output(str(path), text, warehouse)


def test_a_new_file_and_one_that_is_there(warehouse: Warehouse, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    write(warehouse, file)
    assert file.read_text() == TEXT
    file.chmod(0o640)
    write(warehouse, file, "anew")
    assert file.read_text() == "anew"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "report.html"]


def test_a_link_is_followed_and_stays_a_link(warehouse: Warehouse, tmp_path: Path) -> None:
    file, link = tmp_path / "report.html", tmp_path / "link.html"
    file.write_text("old")
    link.symlink_to(file)
    write(warehouse, link)
    assert link.is_symlink()
    assert file.read_text() == TEXT


def test_a_device_stays_a_device(warehouse: Warehouse, tmp_path: Path) -> None:
    """/dev/null became a regular file: here a node of its own, not this machine's."""
    null = tmp_path / "null"
    if os.geteuid() == 0:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    else:
        null = Path(os.devnull)
    before = null.stat()
    write(warehouse, null)
    after = null.stat()
    assert (after.st_ino, after.st_mode, after.st_rdev) == (
        before.st_ino,
        before.st_mode,
        before.st_rdev,
    )


def test_a_pipe_is_written_to_and_one_that_nobody_reads_is_refused(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(WarehouseError, match="cannot write "):
        write(warehouse, pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    while True:  # until the reader has opened it
        try:
            write(warehouse, pipe)
            break
        except WarehouseError:
            pass
    reader.join(20)
    assert read == [TEXT]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_is_no_place_for_a_report_is_refused(warehouse: Warehouse, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    (warehouse.root / "mine.html").write_text("mine")
    for output, message in {
        "": "--output is empty",
        " ": "--output is empty",
        str(tmp_path): "is a folder",
        str(tmp_path / "no" / "such" / "report.html"): "make the folder",
        str(tmp_path / "socket"): "a device or a socket",
        str(warehouse.serving): "is inside the warehouse",
        str(warehouse.root / "mine.html"): "is inside the warehouse",
        str(tmp_path / "x" / ".." / "data" / "r.html"): "is inside the warehouse",
        str(tmp_path / ("x" * 5000)): "cannot write",
        str(loop): "leads nowhere but to itself",
    }.items():
        with pytest.raises(WarehouseError, match=message) as told:
            write(warehouse, output)
        assert "\n" not in str(told.value)
    listener.close()
    assert not (tmp_path / "no").exists()
    assert (warehouse.root / "mine.html").read_text() == "mine"


def test_a_read_only_file_is_refused(warehouse: Warehouse, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    file.chmod(0o444)
    tmp_path.chmod(0o777)
    with pytest.raises(WarehouseError, match="cannot write") as told, as_nobody():
        write(Warehouse(Path("/tmp/none")), file, "anew")
    assert "\n" not in str(told.value)
    assert file.read_text() == "old"


def test_looking_makes_nothing(warehouse: Warehouse, tmp_path: Path) -> None:
    refuse_output(str(tmp_path / "report.html"), warehouse)
    assert not (tmp_path / "report.html").exists()

"""The command in a process of its own, and what its tests look at: refusals, folders, disks."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.runs.asset_runs import LENGTH

Said = tuple[int, str, str]
"""Exit code, stdout, stderr."""
PROGRAM = str(Path(sys.executable).with_name("selfrepair"))
NOBODY = 65534


def installed(*arguments: object, **options: Any) -> Said:
    """Run the installed command in a process of its own."""
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=600,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


def python(code: str, *arguments: object, **options: Any) -> str:
    """What a program prints that a fresh interpreter runs to its good end."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        **options,
    ).stdout


def small() -> list[str]:
    return ["--tokens", str(8 * LENGTH), "--sequence-length", str(LENGTH), "--top-fraction", "0.1"]


def snapshot(root: Path) -> dict[str, str]:
    """Every file, link and folder below a folder, with what is in it; empty where there is none.

    Of a lock only that it is there: its text says who held it last.
    """
    return {
        str(path.relative_to(root)): (
            f"-> {os.readlink(path)}"
            if path.is_symlink()
            else "lock"
            if path.suffix == ".lock"
            else hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file()
            else "folder"
        )
        for path in sorted(root.rglob("*"))
    }


def refused(said: Said) -> str:
    """The one clear line of a refusal."""
    code, out, err = said
    before = ("loading ", "publish ")
    lines = [line for line in err.splitlines() if not line.startswith(before)]
    assert code == 2, err
    assert len(lines) == 1, err
    assert lines[0].startswith("error: "), err
    assert len(lines[0]) > 30
    assert out == ""
    return lines[0]


@contextlib.contextmanager
def mounted(place: Path, *options: str) -> Iterator[Path]:
    """A small file system of its own at `place`; skips the test where none can be mounted."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """This process without root's leave to look and write everywhere, whoever it is."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@contextlib.contextmanager
def denied(folder: Path) -> Iterator[None]:
    """A folder that this process may not look into, whoever it is."""
    folder.chmod(0)
    try:
        with as_nobody():
            yield
    finally:
        folder.chmod(0o755)

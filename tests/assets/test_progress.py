"""Progress: a bar where a person looks on, lines where a log is written."""

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from types import ModuleType

import pytest

from selfrepair_assets.progress import Work

DRAWN = """
from selfrepair_assets.progress import Work
work = Work("head ablations", "head-tokens", 40)
for _ in range(4):
    work.add(10)
work.close()
"""


def on_a_terminal(columns: int) -> list[str]:
    """What a bar writes to a terminal of that width, line by line."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    subprocess.run([sys.executable, "-c", DRAWN], stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    text = os.read(ours, 100_000).decode()
    os.close(ours)
    return [line for line in text.replace("\r", "\n").split("\n") if line]


@pytest.mark.parametrize(("columns", "width"), [(80, 80), (0, 100)])
def test_a_bar_fits_its_terminal_also_one_that_tells_no_width(columns: int, width: int) -> None:
    lines = on_a_terminal(columns)
    assert lines[-1].startswith("head ablations: 100%")
    assert "40/40" in lines[-1]
    assert "head-tokens/s" in lines[-1]
    assert len(lines[-1]) in (width - 1, width)  # tqdm leaves a terminal's last column free


def test_a_log_gets_lines_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    lines: list[str] = []
    work = Work("head ablations", "head-tokens", 4_000, 1_000, lines.append, _began=0.0, _told=0.0)
    for _ in range(4):
        now[0] += 6
        work.add(600)
    work.close()
    work.close()
    assert lines == [
        "head ablations: 4,000 head-tokens, 1,000 of them done",
        "head ablations: 55% of 4,000 head-tokens, 100/s, 0:18 left",
        "head ablations: 85% of 4,000 head-tokens, 100/s, 0:06 left",
        "head ablations: done in 0:24 (100 head-tokens/s)",
    ]


def test_a_notebooks_cell_gets_a_bar_and_a_log_lines_also_where_ipykernel_was_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_a_cell = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    written = {}
    for stream in (in_a_cell(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        work = Work("import", "files", 40)
        work.add(40)
        work.close()
        written[type(stream).__name__] = stream.getvalue()
    assert "import: 100%|" in written["OutStream"]
    assert written["StringIO"].splitlines()[0] == "import: 40 files, 0 of them done"
    assert "\r" not in written["StringIO"]

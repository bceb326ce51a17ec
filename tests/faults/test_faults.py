"""The short form of the fault suite, and some seconds of everything at once."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.stress import stress

NAMESPACE = ["unshare", "-m"]  # it fills disks of its own


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_thirty_faults_lose_nothing() -> None:
    if not shutil.which("unshare") or subprocess.run([*NAMESPACE, "true"], check=False).returncode:
        pytest.skip("no file system can be mounted here: the faults need disks of their own")
    done = subprocess.run(
        [
            *NAMESPACE,
            sys.executable,
            "-m",
            "tests.faults.fault_suite",
            "--short",
            "--seed",
            "1",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    last = next(line for line in done.stdout.splitlines() if line.startswith("| **all** |"))
    tried, *_, wrong = (int(cell) for cell in last.split("|")[2:-1])
    assert tried >= 30
    assert wrong == 0


def test_everything_at_once_for_some_seconds(tmp_path: Path) -> None:
    assert stress(tmp_path, 15) == []

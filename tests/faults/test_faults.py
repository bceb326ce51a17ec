"""The short form of the fault suite."""

import shutil
import subprocess
import sys

import pytest

NAMESPACE = ["unshare", "-m"]  # it fills disks of its own


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_fault_of_each_kind_loses_nothing() -> None:
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
    assert tried >= 15
    assert wrong == 0

"""A run whose puts into an S3 store are killed, one after the other, loses nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 900  # seconds; alone on a machine of 2 cores it takes a quarter of a minute
pytestmark = pytest.mark.timeout(LIMIT + 60)


def test_a_kill_in_every_put_loses_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.lost_puts", "--shards", "2"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert " puts killed, 2 shards of each table: all is there" in done.stdout

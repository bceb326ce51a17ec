"""Two Ray workers measure what one process does, also where one of them is killed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SEED = 3
LIMIT = 1_500
"""Seconds; alone on a machine of 2 cores it takes one or two minutes."""
pytestmark = pytest.mark.timeout(LIMIT + 100)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("ray")
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.runs.ray_run", str(folder), str(SEED)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "HOME": str(folder)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, done.stderr[-3000:]
    return dict(json.loads(lines[-1].removeprefix("FOUND ")))


def test_two_workers_write_the_same_files_though_one_is_killed(found: dict[str, Any]) -> None:
    assert found["two"] == found["one"]
    assert any("has lost its worker and goes to another" in line for line in found["warnings"])


def test_an_error_of_a_shard_is_told_as_it_is_and_a_deadly_shard_is_given_up(
    found: dict[str, Any],
) -> None:
    refused, stumbled, died = found["errors"]
    assert refused[0] == "InputError"
    assert refused[1].endswith("cannot be measured.")
    assert "ZeroDivisionError" in stumbled[0]
    assert died[0] == "WorkerError"
    assert "has lost 3 workers" in died[1]
    assert "\n" not in died[1]


def test_workers_listen_on_loopback_only_and_end_with_the_run(found: dict[str, Any]) -> None:
    assert set(found["addresses"]) <= {"127.0.0.1", "::1"}
    assert found["addresses"]
    assert found["left"] == []

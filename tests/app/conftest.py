"""One small published run with details, for the tests that only look at it."""

from pathlib import Path

import pytest

from tests.helpers.runs.app_runs import publish_run


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    publish_run(root, "toy", details=True, n_layers=4)
    return root

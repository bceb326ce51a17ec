"""One published run with everything that a chart can be drawn of."""

from pathlib import Path

import pytest

from selfrepair.app.questions.subject import Subject
from tests.helpers.runs.app_runs import generation_of, publish_run

RUN = "org/toy@step1000"


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("paper")
    publish_run(
        root, RUN, details=True, model="org/toy", revision="step1000", n_layers=4,
        top_fraction=0.25, weights_sha256="0123456789abcdef" * 4,
        options={"until": "5%", "x": None},
    )  # fmt: skip
    return root


@pytest.fixture(scope="session")
def subject(root: Path) -> Subject:
    return Subject(generation_of(root), RUN, "resample", 0, 0)

"""A visitor who clicks on while ten runs are measured and published under their hands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from itertools import cycle
from pathlib import Path

from tests.browser.visit import PROJECT, Visit, serving_app
from tests.helpers.models.families import save
from tests.helpers.runs.asset_runs import write_text

GENERATIONS = 10
PAGES = ("Model", "Across models", "Head", "Trust", "Neurons", "Self-reinforcement", "Paper")
MEASURE = """
import sys
from pathlib import Path
import dagster as dg
from tests.helpers.runs.asset_runs import materialize
root, *models = map(Path, sys.argv[1:])
with dg.DagsterInstance.ephemeral() as instance:
    for model in models:
        assert materialize(root, model, instance).success
"""


def test_a_visitor_gets_each_new_generation(tmp_path: Path, visit: Visit) -> None:
    save("gpt2", tmp_path / "model")
    write_text(tmp_path / "text.txt")
    models = [tmp_path / f"model-{number}" for number in range(1, GENERATIONS + 1)]
    for model in models:
        shutil.copytree(tmp_path / "model", model)
    root = tmp_path / "data"
    measuring = subprocess.Popen(
        [sys.executable, "-c", MEASURE, str(root), *map(str, models)],
        cwd=PROJECT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    seen: list[int] = []
    with measuring, serving_app(root) as address:
        visit.go(address)
        assert not re.search(r"generation \d", visit.text())
        for page in cycle(PAGES):
            ended = measuring.poll() is not None
            visit.page.get_by_role("link", name="Overview", exact=True).first.click()
            visit.settled()
            shown = visit.page.locator("body").inner_text()
            found = re.search(r"generation (\d+)", shown)
            if found and int(found[1]) not in seen:
                assert f"model-{found[1]}" in shown
                seen.append(int(found[1]))
            if ended:
                break
            visit.page.get_by_role("link", name=page, exact=True).first.click()
            visit.settled()
    assert measuring.returncode == 0, measuring.stderr
    assert seen == list(range(1, GENERATIONS + 1))

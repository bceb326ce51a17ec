"""The bundled model from the command to the app, as `make demo` does, only smaller."""

import os
from pathlib import Path

import pytest

from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from selfrepair.warehouse.sql_files import relations
from tests.helpers.runs.app_runs import PAGES, page, said, sound
from tests.helpers.runs.cli_runs import installed

MODEL = "smollm2-135m-instruct"
NOT_OF_THIS_MODEL = {
    *("beside_paper", "paper_correlation", "post_norm_repair_by_head"),
    *("training_steps", "layers_over_training"),
}
"""The authors published no numbers of it, it has no post-norm, and is no step of a training."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "data"
    less = ["--tokens", "512", "--sequence-length", "64", "--layers", "27:"]
    less += ["--reinforcement-layers", "29", "--warehouse", str(root)]
    code, out, err = installed("run", MODEL, *less, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert code == 0, err
    assert "Most repaired heads" in out
    return root


def test_every_view_has_rows_of_the_model(demo: Path) -> None:
    with open_serving(Warehouse(demo)) as connection:
        empty = set()
        for found in relations():
            if found.kind == "view":
                columns = [
                    row[0] for row in connection.execute(f"describe {found.name}").fetchall()
                ]
                where = f"where run_id = '{MODEL}'" if "run_id" in columns else ""
                row = connection.execute(f"select count(*) from {found.name} {where}").fetchone()
                empty |= set() if row and row[0] else {found.name}
    assert empty == NOT_OF_THIS_MODEL


@pytest.mark.parametrize("name", PAGES)
def test_every_page_shows_the_model(name: str, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = sound(page(demo, name, monkeypatch))
    assert test.title
    assert "generation 1" in said(test)

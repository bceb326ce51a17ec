"""The notebooks in examples/ run from their first cell to their last."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.browser.visit import PROJECT
from tests.helpers.runs.app_runs import publish_run

EXAMPLES = PROJECT / "examples"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Runs a notebook in a kernel of its own, in an empty folder; the notebook with outputs.

    Its cells have no limit of their own: on a busy machine that of the suite is enough. Ended from
    outside by SIGTERM (`timeout`), nbclient says "Kernel died", and the kernel "Socket operation
    on non-socket": neither is of the notebook's making.
    """
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("SELFREPAIR_WAREHOUSE", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def execute(name: str) -> Any:
        notebook = nbformat.read(EXAMPLES / name, as_version=4)
        where = {"metadata": {"path": str(tmp_path)}}
        return NotebookClient(notebook, timeout=None, resources=where).execute()

    return execute


def said(notebook: Any) -> str:
    """All that its cells printed and showed as text."""
    return "\n".join(map(said_by, notebook.cells))


def said_by(cell: Any) -> str:
    outputs = cell.get("outputs", [])
    return "\n".join(o.get("data", {}).get("text/plain", "") + o.get("text", "") for o in outputs)


def figures(notebook: Any) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("application/vnd.plotly.v1+json" in o.get("data", {}) for o in outputs)


def test_a_heads_story(run: Callable[[str], Any], tmp_path: Path) -> None:
    publish_run(tmp_path / "data", "toy", details=True, n_sequences=12)
    notebook = run("a_heads_story.ipynb")
    assert figures(notebook) == 2
    text = said(notebook)
    assert "from runs order by finished_at desc" in text
    assert "MLP 2" in text


def test_your_own_model(run: Callable[[str], Any]) -> None:
    notebook = run("your_own_model.ipynb")
    assert figures(notebook) == 1
    text = said(notebook)
    assert "head ablations: 100%" in text  # a bar, drawn to its end
    assert "publish: 100%" in text
    assert "Most repaired heads" in text  # what the cell prints after its bars
    assert "never awaited" not in text
    assert "Traceback" not in text
    assert "off" in said_by(notebook.cells[-1])


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_outputs_are_stored(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert not cell.get("execution_count")

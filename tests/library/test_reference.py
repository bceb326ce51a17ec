"""docs/library.md: every example runs, and every method has one."""

import re
from pathlib import Path

import pytest

from selfrepair.library.opened import OpenWarehouse
from tests.browser.visit import PROJECT
from tests.helpers.runs.app_runs import publish_run

TEXT = (PROJECT / "docs" / "library.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def test_every_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_run(tmp_path / "warehouse/data", "toy", details=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for example in EXAMPLES:
        exec(example, names)
    assert len(EXAMPLES) > 8
    assert (tmp_path / "figure.html").stat().st_size > 1_000


def test_every_method_has_an_example() -> None:
    methods = [name for name in dir(OpenWarehouse) if not name.startswith("_")]
    assert len(methods) > 8
    for name in methods:
        assert f".{name}(" in "".join(EXAMPLES), name
    assert "selfrepair.measure(" in TEXT

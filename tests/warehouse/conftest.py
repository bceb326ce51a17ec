"""What tests of the store have in common."""

from pathlib import Path

import pytest

from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published import outside


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """An empty one."""
    return Warehouse(tmp_path / "data").prepare()


@pytest.fixture
def all_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run is taken for a large one, and every table of it."""
    monkeypatch.setattr(outside, "RUN_INSIDE_AT_MOST", 0)
    monkeypatch.setattr(outside, "TABLE_INSIDE_AT_MOST", 0)

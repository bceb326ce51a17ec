"""What tests of the store have in common."""

from pathlib import Path

import pytest

from selfrepair.warehouse.published import outside
from tests.helpers.runs.small_publishing import small_sql


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A small SQL folder to publish with."""
    return small_sql(tmp_path / "sql")


@pytest.fixture
def all_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run is taken for a large one, and every table of it."""
    monkeypatch.setattr(outside, "RUN_INSIDE_AT_MOST", 0)
    monkeypatch.setattr(outside, "TABLE_INSIDE_AT_MOST", 0)

"""What tests of the store have in common."""

from pathlib import Path

import pytest

from selfrepair.warehouse.paths import Warehouse


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """An empty one."""
    return Warehouse(tmp_path / "data").prepare()

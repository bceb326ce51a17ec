"""An exported run is the same run elsewhere; what was altered on the way is refused."""

import functools
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfrepair.exchange import layout
from selfrepair.exchange.importing import bring
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from selfrepair.warehouse.sealed import read_json, write_json
from tests.helpers.runs.cli_runs import Said, refused, snapshot
from tests.helpers.runs.small_publishing import contents

Run = Callable[..., Said]
Alter = Callable[[Path], None]


@pytest.fixture(scope="module")
def exported(gpt2_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a measured run, by the command in its own process."""
    folder = tmp_path_factory.mktemp("exported") / "run"
    command = ["selfrepair", "export", run_of(gpt2_warehouse), "--output", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", *command, "--warehouse", str(gpt2_warehouse)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def assert_same(one: Any, other: Any) -> None:
    """Equal, but for floats' last bits: what is summed is summed in the order in which it comes."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-7, nan_ok=True)
    else:
        assert one == other


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
    assert_same(before, after)  # every table, stored result and view, the figures' among them
    assert len(before["figures"]) > 20
    assert before["head_summary"]
    assert not list(there.glob("scratch/*"))
    code, out, err = selfrepair("publish", "--warehouse", there)  # from what was imported alone
    assert code == 0, err
    assert_same(before, contents(Warehouse(there)))


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
    assert not list(tmp_path.iterdir())


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


def resummed(folder: Path) -> None:
    """Makes the checksums fit, as whoever alters an export on purpose would."""
    sums = {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file() and p.name != layout.SUMS
    }
    (folder / layout.SUMS).write_text(layout.sums_text(sums))


def shard(folder: Path, table: str = "head_ablations") -> Path:
    return min((folder / "facts" / table).iterdir())


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Puts another table in a shard's place, with a name and checksums that fit."""
    footer = pq.read_metadata(path).metadata
    table = change(pq.read_table(path)).replace_schema_metadata(
        {key: value for key, value in footer.items() if key != b"ARROW:schema"}
    )
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    stem = path.name.split(".")[0]
    path.rename(path.with_name(f"{stem}.{digest}.parquet"))


def changed_json(folder: Path, name: str, change: Callable[[dict], None]) -> None:
    path = folder / "run" / name
    value = read_json(path, "") or {}
    change(value)
    write_json(path, value)
    resummed(folder)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 7)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_shard_resummed(folder: Path) -> None:
    truncate(shard(folder))
    resummed(folder)


def other_values(folder: Path) -> None:
    def louder(table: pa.Table) -> pa.Table:
        at = table.column_names.index("logit_change")
        values = pa.array(table["logit_change"].to_numpy() + 1)
        return table.set_column(at, table.schema.field(at), values)

    rewritten(shard(folder), louder)
    resummed(folder)


def fewer_rows(folder: Path) -> None:
    rewritten(shard(folder), lambda table: table.slice(1))
    resummed(folder)


def other_columns(folder: Path) -> None:
    rewritten(shard(folder), lambda table: table.append_column("more", table["layer"]))
    resummed(folder)


def far_more_rows(folder: Path) -> None:
    rewritten(shard(folder), lambda table: pa.concat_tables([table] * 50))
    resummed(folder)


def bomb(folder: Path) -> None:
    def same(table: pa.Table) -> pa.Table:
        at = table.column_names.index("token_text")
        text = pa.array(["x" * 10_000_000] * table.num_rows)
        return table.set_column(at, table.schema.field(at), text)

    rewritten(shard(folder, "tokens"), same)
    resummed(folder)


def linked(folder: Path) -> None:
    path = shard(folder)
    path.rename(folder.parent / "outside")
    path.symlink_to(folder.parent / "outside")


def linked_folder(folder: Path) -> None:
    (folder / "facts").rename(folder.parent / "outside")
    (folder / "facts").symlink_to(folder.parent / "outside")


def pipe(folder: Path) -> None:
    path = shard(folder)
    path.unlink()
    os.mkfifo(path)


def extra_line(line: str) -> Alter:
    def alter(folder: Path) -> None:
        with (folder / layout.SUMS).open("a") as file:
            file.write(f"{'0' * 64}  {line}\n")

    return alter


def settings(change: Callable[[dict], None]) -> Alter:
    return lambda folder: changed_json(folder, "run.json", change)


def without_sums(folder: Path) -> None:
    (folder / layout.SUMS).unlink()


def sums_cut(folder: Path) -> None:
    lines = (folder / layout.SUMS).read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b"facts/tokens" not in line]
    (folder / layout.SUMS).write_bytes(b"".join(kept))


def deep_json(folder: Path) -> None:
    (folder / "run" / "run.json").write_text("[" * 100_000)
    resummed(folder)


ALTERED: dict[str, tuple[Alter, str]] = {
    "a shard is cut": (lambda f: truncate(shard(f)), "checksum is another"),
    "a shard is cut, with its checksum": (cut_shard_resummed, "no Parquet file"),
    "a bit of a shard": (lambda f: flip(shard(f, "tokens")), "checksum is another"),
    "a bit of the plan": (lambda f: flip(f / "run" / "run.json"), "checksum is another"),
    "a bit of the database": (lambda f: flip(f / layout.DATABASE), "checksum is another"),
    "a bit of the card": (lambda f: flip(f / layout.CARD), "checksum is another"),
    "a shard is gone": (lambda f: shard(f).unlink(), "cannot be read"),
    "a shard is gone from the sums": (sums_cut, "are not those of the plan"),
    "the sums are gone": (without_sums, "SHA256SUMS cannot be read"),
    "the sums are cut": (lambda f: truncate(f / layout.SUMS), "SHA256SUMS"),
    "other values": (other_values, "fails"),
    "fewer rows": (fewer_rows, "fails"),
    "other columns": (other_columns, "other columns"),
    "far more rows": (far_more_rows, "larger than the run can be"),
    "rows that unpack without end": (bomb, "larger than the run can be"),
    "a shard is a link": (linked, "is a link"),
    "a folder is a link": (linked_folder, "is a link"),
    "a shard is a pipe": (pipe, "is not a file"),
    "a name that leads out": (extra_line("facts/../../../etc/passwd"), "no export holds"),
    "an absolute name": (extra_line("/etc/passwd"), "no export holds"),
    "SQL of its own": (extra_line("sql/views/head_summary.sql"), "no export holds"),
    "a checks.json that says all is well": (extra_line("run/checks.json"), "no export holds"),
    "a table of its own": (extra_line("facts/mine/x.parquet"), "no export holds"),
    "a name twice": (extra_line("README.md"), "holds twice"),
    "JSON without end": (deep_json, "no plan of a run"),
    "a run named as a folder": (settings(lambda v: v.update(run_id="../../x")), "not settings"),
    "a run without a name": (settings(lambda v: v.update(run_id="")), "name of the run is empty"),
    "a name of lines": (settings(lambda v: v.update(run_id="a\nb")), "no plan of a run"),
    "a table name": (settings(lambda v: v["tables"].update(runs=[[0, 1]])), "no plan of a run"),
    "a shard before the first": (
        settings(lambda v: v["tables"].update(tokens=[[-1, 8]])),
        "no plan of a run",
    ),
    "a setting of its own": (settings(lambda v: v["about"]["spec"].update(x=1)), "not settings"),
    "no settings": (settings(lambda v: v.update(about={})), "not settings"),
    "layers without end": (
        settings(lambda v: v["about"]["model"].update(n_layers=10**9)),
        "not settings",
    ),
    "bf16 that was never sampled": (
        settings(lambda v: v["about"]["spec"].update(precision="bf16")),
        "not settings",
    ),
    "another fingerprint": (settings(lambda v: v.update(fingerprint="0" * 64)), "another run"),
}


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

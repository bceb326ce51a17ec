"""Which files beside the published file stay, and which go: readers, damage, kills, deleting."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.paths import TEMPORARY, Warehouse
from selfrepair.warehouse.published import generations
from selfrepair.warehouse.published.generations import checksum_file, current
from selfrepair.warehouse.published.publish import delete, publish, publish_anew
from selfrepair.warehouse.published.read import open_serving
from selfrepair.warehouse.published.repair import troubles
from selfrepair.warehouse.published.runs import published_runs
from selfrepair.warehouse.sealed import DAMAGED, is_intact
from tests.faults.faults import harmed
from tests.helpers.runs.small_publishing import files_outside as files
from tests.helpers.runs.small_publishing import measured, shown

pytestmark = pytest.mark.usefixtures("all_outside")


@pytest.fixture
def two(warehouse: Warehouse, sql: Path) -> Warehouse:
    """With two published runs, `a` and `b`."""
    for run_id in ("a", "b"):
        publish(warehouse, measured(warehouse, run_id), source=sql)
    return warehouse


def test_whoever_reads_an_old_generation_goes_on(
    two: Warehouse, sql: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Through this project, or with DuckDB alone in another process, while the run is deleted."""
    old, count = current(two) or Path(), "select count(*) from head_ablations"
    program = (
        f"import duckdb, sys; c = duckdb.connect({str(old)!r}, read_only=True, "
        f"config={{'file_search_path': {str(two.root)!r}}})\n"
        "for line in sys.stdin: print(c.execute(line).fetchall(), flush=True)"
    )
    ours = [open_serving(two)]
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as theirs:
        said, heard = theirs.stdin, theirs.stdout
        assert said is not None
        assert heard is not None

        def asked() -> list[str]:
            print(count, file=said, flush=True)
            return [str(ours[0].execute(count).fetchall()), heard.readline().strip()]

        before = asked()
        for run_id in ("a", "b"):
            delete(two, run_id, source=sql)
        assert asked() == before == ["[(192,)]"] * 2
        assert "of a stay in" in caplog.text
        ours.clear()
        publish(two, measured(two, "c"), source=sql)
        assert old.exists(), "the other process reads it"
        said.close()
        theirs.wait()
    publish(two, measured(two, "d"), source=sql)
    assert not old.exists()
    assert {path.parent.name for path in files(two)} == {"run=c", "run=d"}


def test_a_deleted_runs_files_go_at_once_where_nobody_reads(two: Warehouse, sql: Path) -> None:
    delete(two, "a", source=sql)
    assert {path.parent.name for path in files(two)} == {"run=b"}
    delete(two, "b", source=sql)
    assert files(two) == set()


@pytest.mark.parametrize("how", ["removed", "bit flip"])
def test_a_lost_file_is_made_anew_from_the_shards(two: Warehouse, sql: Path, how: str) -> None:
    before = shown(two)
    victim = next(path for path in files(two) if path.parents[1].name == "direct_effects")
    harmed(victim, how)
    found = list(troubles(two))
    assert [trouble.run_id for trouble in found] == [None]
    assert victim.name in found[0].what
    assert found[0].mend is not None
    if how == "bit flip":
        found[0].mend()
    publish_anew(two, source=sql)
    assert shown(two) == before
    assert list(troubles(two)) == []


def test_a_killed_publishers_files_go(warehouse: Warehouse, sql: Path) -> None:
    publish(warehouse, measured(warehouse, "a"), source=sql)
    before = files(warehouse)
    there = next(iter(before))
    for name in (f"rows.{'0' * 64}.parquet", f"rows.parquet{TEMPORARY}1"):
        shutil.copy(there, there.with_name(name))
    assert len(list(troubles(warehouse))) == 1
    publish(warehouse, measured(warehouse, "a"), source=sql)
    assert files(warehouse) == before


@pytest.mark.parametrize("cut", ["at a line's end", "within a name", "away"])
def test_a_lost_list_of_files_loses_no_file(warehouse: Warehouse, sql: Path, cut: str) -> None:
    """The published file says itself what it names; a reader's files stay too."""
    publish(warehouse, measured(warehouse, "a"), keep_shards=False, source=sql)
    before, there = shown(warehouse), files(warehouse)
    list_ = checksum_file(current(warehouse) or Path())
    lines = list_.read_text().splitlines(keepends=True)
    if cut == "away":
        list_.unlink()
    else:
        list_.write_text("".join(lines[:2]) + (lines[2][:100] if cut == "within a name" else ""))
    assert len(list(troubles(warehouse))) == 1
    reader = open_serving(warehouse)
    for run_id in ("b", "c", "d"):
        publish(warehouse, measured(warehouse, run_id), source=sql)
    assert there <= files(warehouse)
    assert [r for r in shown(warehouse)["tokens"] if r[0] == "a"] == before["tokens"]
    assert reader.execute("from head_ablations order by all").fetchall() == before["head_ablations"]
    reader.close()


def test_what_is_left_of_a_lost_run_is_kept(warehouse: Warehouse, sql: Path) -> None:
    """Its shards were dropped, and one of its files is damaged: the others are set aside."""
    publish(warehouse, measured(warehouse, "lost"), keep_shards=False, source=sql)
    publish(warehouse, measured(warehouse, "kept"), source=sql)
    there = {path for path in files(warehouse) if path.parent.name == "run=lost"}
    victim = next(path for path in there if path.parents[1].name == "direct_effects")
    contents_of = {path: path.read_bytes() for path in there - {victim}}
    harmed(victim, "bit flip")
    [found] = troubles(warehouse)
    assert "whose shards were dropped" in found.way_out
    victim.replace(victim.with_name(f"{victim.name}{DAMAGED}1"))
    for _ in range(3):
        publish(warehouse, measured(warehouse, "kept"), source=sql)
    assert published_runs(warehouse) == ["kept"]
    for path, data in contents_of.items():
        assert [aside.read_bytes() for aside in path.parent.glob(f"{path.name}*")] == [data]


def test_deleting_from_a_damaged_file_sets_it_aside(two: Warehouse, sql: Path) -> None:
    served = current(two) or Path()
    harmed(served, "bit flip")
    delete(two, "a", source=sql)
    assert len(list(two.generations.glob(f"{served.name}{DAMAGED}*"))) == 1


def test_a_killed_delete_goes_on(
    two: Warehouse, sql: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(generations, "remove_old", lambda _warehouse, _kept: None)
        killed.setattr(RunTable, "remove", _stop)
        with pytest.raises(KeyboardInterrupt):
            delete(two, "a", source=sql)
    assert "run=a" in {path.parent.name for path in files(two)}
    assert delete(two, "a", source=sql) is None
    assert {path.parent.name for path in files(two)} == {"run=b"}


def _stop(_table: RunTable) -> None:
    raise KeyboardInterrupt


def test_a_flipped_bit_gets_into_no_stored_result(two: Warehouse, sql: Path) -> None:
    """Where stored results are computed anew, from files that are hashed before."""
    before = shown(two)["by_layer"]
    victim = next(path for path in files(two) if path.parents[1].name == "head_ablations")
    harmed(victim, "bit flip")
    stored = sql / "stored" / "by_layer.sql"
    stored.write_text(stored.read_text().replace("4) as self_repair", "4) + 1 as self_repair"))
    publish(two, measured(two, "b"), source=sql)
    after = shown(two)["by_layer"]
    assert [r[2] for r in after] == pytest.approx([r[2] + 1 for r in before])
    assert all(is_intact(path, afresh=True) for path in files(two) if path.suffix != "")


def test_files_of_others_are_left_alone(warehouse: Warehouse, sql: Path) -> None:
    others = [warehouse.outside / "my figures" / "fig.pdf", warehouse.outside / "packed.duckdb"]
    publish(warehouse, measured(warehouse, "a"), source=sql)
    others.append(next(iter(files(warehouse))).with_name("notes.txt"))
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    for _ in range(3):
        publish(warehouse, measured(warehouse, "a"), source=sql)
    assert {path.read_text() for path in others} == {"mine"}


@pytest.mark.parametrize("how", ["removed", "bit flip"])
def test_after_a_lost_generation_its_files_go_when_nothing_needs_them(
    how: str, two: Warehouse, sql: Path
) -> None:
    harmed(current(two) or Path(), how)

    def of_a() -> set[Path]:
        return {path for path in files(two) if path.parent.name == "run=a"}

    publish(two, measured(two, "b"), source=sql)
    assert of_a(), "made again from what the lost one named"
    delete(two, "a", source=sql)
    for set_aside in two.generations.glob(f"*{DAMAGED}*"):
        assert of_a(), "somebody may still look into it"
        set_aside.unlink()
    for _ in range(3):
        publish(two, measured(two, "b"), source=sql)
    assert not of_a()
    assert {path.name for path in two.generations.iterdir()} == {
        path.name
        for generation in two.generations.glob("*.duckdb")
        for path in (generation, checksum_file(generation))
    }
    assert published_runs(two) == ["b"]


def test_after_a_lost_generation_the_files_of_a_run_that_cannot_be_told_of_stay(
    two: Warehouse, sql: Path
) -> None:
    """Its plan is damaged too, so that no generation has it: they may be all that is left."""
    (current(two) or Path()).unlink()
    for note in two.run_folder("a").glob("*.json"):
        note.write_bytes(b"?")
    before = {path for path in files(two) if path.parent.name == "run=a"}
    for _ in range(4):
        publish(two, measured(two, "b"), source=sql)
    assert published_runs(two) == ["b"]
    assert before
    assert before <= files(two)

"""Shards in an object store: whole or not at all, got where they are not, gone where removed."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pyarrow import fs

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.plan import plan_path, read_plan, write_plan
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.object_store import (
    ObjectStore,
    keep_facts_at,
    keep_facts_here,
    store_of,
)
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.publish import delete
from tests.helpers.objects.s3_server import BUCKET, KEYS, objects, s3_server
from tests.helpers.runs.small_run import FINGERPRINT
from tests.warehouse.facts.test_shards import EFFECTS

NAME = "facts/direct_effects/run=toy"


@pytest.fixture(scope="module")
def options() -> Iterator[str]:
    before = dict(os.environ)
    with s3_server() as options:
        yield options
    for name in KEYS:
        os.environ.pop(name)
        os.environ |= {name: before[name]} if name in before else {}


@pytest.fixture
def address(options: str, tmp_path: Path) -> str:
    return f"s3://{BUCKET}/{tmp_path.name}{options}"


@pytest.fixture
def two(address: str, tmp_path: Path) -> list[RunTable]:
    """One table in the warehouses of two machines that have nothing in common but the store."""
    return [RunTable(machine(tmp_path / name, address), "direct_effects", "toy") for name in "ab"]


def machine(root: Path, address: str) -> Warehouse:
    warehouse = Warehouse(root).prepare()
    keep_facts_at(warehouse, address)
    return warehouse


def look_anew(table: RunTable) -> None:
    """As if a second had passed: names are asked for anew."""
    store_of(table.warehouse).look_anew()


def spoil(address: str, path: Path, data: bytes) -> None:
    files, base = fs.FileSystem.from_uri(address)
    with files.open_output_stream(f"{base}/{NAME}/{path.name}") as file:
        file.write(data)


def test_what_one_machine_writes_another_has(two: list[RunTable], address: str) -> None:
    here, there = two
    assert there.intact(0, 2, FINGERPRINT) is None
    written = here.write(0, 2, EFFECTS, FINGERPRINT)
    look_anew(there)
    got = there.intact(0, 2, FINGERPRINT)
    assert got is not None
    assert got.name == written.name
    assert got.read_bytes() == written.read_bytes()
    assert there.intact(0, 2, "e" * 64) is None
    assert there.intact(2, 3, FINGERPRINT) is None
    there.write_manifest(FINGERPRINT, [got])
    assert there.files() == [got]


@pytest.mark.parametrize("how", ["half", "changed", "empty"])
def test_an_object_that_is_not_what_was_written_is_none(
    two: list[RunTable], address: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = two
    written = here.write(0, 2, EFFECTS, FINGERPRINT)
    data = written.read_bytes()
    spoil(
        address,
        written,
        {"half": data[: len(data) // 2], "changed": b"x" + data[1:], "empty": b""}[how],
    )
    assert there.intact(0, 2, FINGERPRINT) is None
    assert "is damaged in s3://" in caplog.text
    assert not list(there.folder.glob("*"))
    again = there.write(0, 2, EFFECTS, FINGERPRINT)
    assert again.name == written.name
    assert list(objects_of(address).values()) == [len(data)]


def objects_of(address: str) -> dict[str, int]:
    prefix, _, options = address.removeprefix(f"s3://{BUCKET}/").partition("?")
    return {n: size for n, size in objects(f"?{options}", prefix).items() if n.startswith(NAME)}


def test_what_was_written_and_not_put_is_put_when_it_is_found(
    two: list[RunTable], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = two
    with monkeypatch.context() as patched:
        patched.setattr(ObjectStore, "put", lambda self, path: None)  # killed before it
        written = here.write(0, 2, EFFECTS, FINGERPRINT)
    assert objects_of(address) == {}
    assert here.intact(0, 2, FINGERPRINT) == written
    assert objects_of(address) == {f"{NAME}/{written.name}": written.stat().st_size}
    look_anew(there)
    assert there.intact(0, 2, FINGERPRINT) is not None


def test_a_damaged_shard_is_not_put_and_comes_back_from_the_store(
    two: list[RunTable], address: str
) -> None:
    here, _ = two
    written = here.write(0, 2, EFFECTS, FINGERPRINT)
    data = written.read_bytes()
    written.write_bytes(data[:-1])
    store_of(here.warehouse).put(written)
    assert objects_of(address) == {f"{NAME}/{written.name}": len(data)}
    written.unlink()
    assert here.intact(0, 2, FINGERPRINT) == written
    assert written.read_bytes() == data


def test_what_is_withdrawn_or_removed_does_not_come_back(two: list[RunTable], address: str) -> None:
    here, there = two
    first, second = (here.write(n, n + 2, shifted(n), FINGERPRINT) for n in (0, 2))
    here.withdraw([first])
    assert list(objects_of(address)) == [f"{NAME}/{second.name}"]
    assert here.intact(0, 2, FINGERPRINT) is None
    assert there.intact(0, 2, FINGERPRINT) is None
    here.remove()
    assert objects_of(address) == {}
    assert here.intact(2, 4, FINGERPRINT) is None
    here.remove()  # there is nothing left, which is no error


def shifted(by: int) -> dict[str, object]:
    return EFFECTS | {"sequence": EFFECTS["sequence"] + by}


def test_dropped_shards_and_those_beside_the_manifest_are_removed(
    two: list[RunTable], address: str
) -> None:
    here, _ = two
    kept = here.write(0, 2, EFFECTS, FINGERPRINT)
    other = here.write(0, 2, EFFECTS, FINGERPRINT, "another precision")
    here.write_manifest(FINGERPRINT, [kept])
    assert list(objects_of(address)) == [f"{NAME}/{kept.name}"]
    assert not other.exists()
    here.drop()
    assert objects_of(address) == {}
    assert not kept.exists()


def test_a_run_that_another_machine_began_is_known_and_deleted(
    address: str, tmp_path: Path
) -> None:
    here, there = (machine(tmp_path / name, address) for name in "ab")
    write_plan(here, "toy", FINGERPRINT, {"direct_effects": [(0, 2)]})
    plan = read_plan(there, "toy")
    assert plan is not None
    assert plan.tables == {"direct_effects": [(0, 2)]}
    assert delete(there, "toy") is None
    assert not plan_path(there, "toy").exists()
    assert read_plan(machine(tmp_path / "c", address), "toy") is None


def test_an_address_is_kept_and_a_wrong_one_refused(address: str, tmp_path: Path) -> None:
    warehouse = machine(tmp_path / "a", address)
    keep_facts_at(warehouse, address)
    assert store_of(Warehouse(tmp_path / "a")).address == address
    with pytest.raises(WarehouseError, match=r"are in s3://.*: leave --facts out, or choose"):
        keep_facts_at(warehouse, address.replace("?", "/deeper?"))
    fresh = Warehouse(tmp_path / "b")
    for wrong, why in (
        ("/some/folder", "no address such as s3://"),
        ("s3://", "no address such as s3://"),
        ("s3://bucket?schema=http", "cannot open it"),
        (address.replace(BUCKET, "nobody-s"), "there is no bucket nobody-s"),
    ):
        with pytest.raises(WarehouseError, match=why):
            keep_facts_at(fresh, wrong)
    assert not fresh.root.exists()
    assert store_of(fresh).address is None


def test_keys_in_an_address_are_refused_and_not_shown(address: str, tmp_path: Path) -> None:
    fresh = Warehouse(tmp_path / "fresh")
    bucket, _, options = address.removeprefix("s3://").partition("?")
    for wrong in (
        f"s3://me:hush@{bucket}?{options}",
        f"{address}&secret_key=hush",
        f"{address}&access_key=hush",
    ):
        with pytest.raises(WarehouseError, match="holds keys") as refused:
            keep_facts_at(fresh, wrong)
        assert "hush" not in str(refused.value)
    assert not fresh.root.exists()


def test_a_damaged_note_of_the_address_is_mended_by_the_same_command(
    address: str, tmp_path: Path
) -> None:
    warehouse = machine(tmp_path / "a", address)
    note = warehouse.root / "facts.json"
    data = bytearray(note.read_bytes())
    data[len(data) // 2] ^= 1
    note.write_bytes(data)
    with pytest.raises(WarehouseError, match="repeat the run with --facts"):
        store_of(warehouse)
    assert keep_facts_at(warehouse, address)
    assert store_of(warehouse).address == address
    assert not keep_facts_at(warehouse, address)
    [aside] = warehouse.root.glob("facts.json.damaged-*")
    assert aside.read_bytes() == data


def test_of_two_commands_at_once_one_chooses_where_the_facts_lie(
    address: str, tmp_path: Path
) -> None:
    warehouse = Warehouse(tmp_path / "fresh")
    others = [address, address.replace("?", "/other?")]

    def choose(one: str) -> bool:
        try:
            return keep_facts_at(warehouse, one)
        except WarehouseError:
            return False

    with ThreadPoolExecutor(2) as pool:
        chosen = list(pool.map(choose, others))
    assert sum(chosen) == 1
    assert store_of(warehouse).address == others[chosen.index(True)]


def test_a_refused_run_forgets_the_store_unless_another_began(address: str, tmp_path: Path) -> None:
    warehouse = machine(tmp_path / "a", address)
    warehouse.run_folder("another's").mkdir(parents=True)
    keep_facts_here(warehouse)
    assert store_of(warehouse).address == address
    warehouse.run_folder("another's").rmdir()
    keep_facts_here(warehouse)
    assert store_of(warehouse).address is None

"""A shard's tables are written by other threads while it is measured, whole or not at all."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import pytest

from selfrepair_assets.steps.sharded import stored_shards
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard
from selfrepair_assets.steps.sharded.stored_shards import store_tables

TABLES: dict[str, Callable[[int], dict[str, int] | None]] = {
    "doubled": lambda part: {"value": 2 * part},
    "odd": lambda part: {"value": part} if part % 2 else None,
}
FOLDER = cast(RunFolder, None)
SHARD = Shard(0, 1)
PATIENCE = 20


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """The tables that were written to the end."""
    whole: dict[str, list[int]] = {}

    def store(_folder: Any, table: str, _shard: Any, rows: Iterable[Any], _precision: Any) -> None:
        assert threading.current_thread() is not threading.main_thread()
        whole[table] = [columns["value"] for columns in rows]

    monkeypatch.setattr(stored_shards, "store_shard", store)
    return whole


def test_tables_take_a_part_while_the_next_one_is_measured(stored: dict[str, list[int]]) -> None:
    taken = threading.Event()

    def measured() -> Iterator[int]:
        yield 1
        assert taken.wait(PATIENCE), "nobody has taken the first part"
        yield 2

    def rows(part: int) -> dict[str, int]:
        taken.set()
        return {"value": part}

    store_tables(FOLDER, SHARD, measured(), {**TABLES, "plain": rows})
    assert stored == {"doubled": [2, 4], "odd": [1], "plain": [1, 2]}


def test_where_measuring_fails_nothing_is_stored(stored: dict[str, list[int]]) -> None:
    def measured() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_tables(FOLDER, SHARD, measured(), TABLES)
    assert stored == {}


def test_where_a_table_fails_the_others_are_given_up(stored: dict[str, list[int]]) -> None:
    failed = threading.Event()

    def broken(part: int) -> dict[str, int]:
        failed.set()
        raise ValueError(f"part {part}")

    def measured() -> Iterator[int]:
        yield 1
        assert failed.wait(PATIENCE)
        yield from range(2, 1_000_000)
        pytest.fail("it was measured on")

    with pytest.raises(ValueError, match="part 1"):
        store_tables(FOLDER, SHARD, measured(), {**TABLES, "broken": broken})
    assert stored == {}


def test_a_table_that_fails_at_its_last_part_is_told(stored: dict[str, list[int]]) -> None:
    def broken(part: int) -> dict[str, int]:
        raise ValueError(f"part {part}")

    with pytest.raises(ValueError, match="part 7"):
        store_tables(FOLDER, SHARD, [7], {"broken": broken})

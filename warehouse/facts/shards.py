"""One shard: its name, its footer, and how rows become its content.

A shard is done when a file of its name has the bytes that the name says (`sealed.py`), and is never
changed after that: this is what resumes after a crash. Its columns are those of
`sql/tables/<table>.sql` without `run_id`, which is in the folder's name; its footer carries the
fingerprint of the spec that it was measured for, and the precision where that is chosen on the run.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.tables import schema
from selfrepair.warehouse.sealed import checksum_in

Rows = Mapping[str, Any] | Iterable[Mapping[str, Any]]
"""Columns by name, in one part or in several, one after the other."""

MEASURE_AGAIN = "the `selfrepair run` command that began the run measures it again"
SHARD_NAME = re.compile(r"sequences-(\d{6,})-(\d{6,})\.[0-9a-f]{64}\.parquet")
SORTED_BY = ("ranking", "ablation", "layer", "head", "scale", "sequence", "position")
HEADS_BY = SORTED_BY[:4]  # what the rows of one head have in common, the head last

# A row group holds whole heads of one ablation and layer, and at least so many bytes (some 25,000
# rows of head_ablations) where there are so many: small enough that one layer's rows are found by
# the footer's minima and maxima, large enough that asking all footers costs less than the rows.
ROW_GROUP = 2**20


def shard_stem(start: int, stop: int) -> str:
    """The beginning of the name of the shard with sequences `start` to `stop` (exclusive)."""
    return f"sequences-{start:06d}-{stop:06d}"


def is_shard(path: Path) -> bool:
    """Whether a file has a shard's name; its bytes are not looked at."""
    return SHARD_NAME.fullmatch(path.name) is not None


def range_of(file: str) -> tuple[int, int]:
    """The first sequence of a shard, and the one after its last, by its name."""
    name = SHARD_NAME.fullmatch(file)
    if not name:
        raise WarehouseError(f"{file} is not the name of a shard: {MEASURE_AGAIN}")
    return int(name[1]), int(name[2])


def refuse_gap(table: str, run_id: str, paths: Iterable[Path]) -> None:
    """Raises WarehouseError where shards overlap, or leave a gap in the sequences."""
    reached = 0
    for path in paths:
        start, stop = range_of(path.name) if is_shard(path) else (-1, -1)
        if start != reached or stop <= reached:
            raise WarehouseError(
                f"the shards of {table} for {run_id} do not follow each other: "
                f"sequence {reached} should begin where {path.name} is"
            )
        reached = stop


def shard_fingerprint(path: Path) -> str | None:
    """The spec's fingerprint in a shard's footer; None where the file is not a shard."""
    return _in_footer(path, b"spec_fingerprint")


def shard_precision(path: Path) -> str | None:
    """The precision that a shard was measured in; None where its run knows one only."""
    return _in_footer(path, b"layer_precision")


def entry_of(path: Path) -> dict[str, Any]:
    """What a manifest says of a shard."""
    return {
        "file": path.name,
        "rows": pq.read_metadata(path).num_rows,
        "bytes": path.stat().st_size,
        "sha256": checksum_in(path.name),
    }


def _in_footer(path: Path, key: bytes) -> str | None:
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    found = metadata.get(key)
    return found.decode() if found else None


def write_rows(
    file: Any, table: str, start: int, stop: int, rows: Rows, footer: Mapping[str, str]
) -> None:
    """Writes the content of a shard to an open file; `RunTable.write` says what the rows may be."""
    want = schema(table)
    last: tuple[Any, ...] | None = None
    with pq.ParquetWriter(
        file,
        want,
        compression="zstd",
        use_dictionary=[_leaf(f) for f in want if not _holds_floats(f)],
    ) as writer:
        writer.add_key_value_metadata(footer)
        for part in [rows] if isinstance(rows, Mapping) else rows:
            sorted_rows = _arrow_rows(table, want, part)
            if not sorted_rows.num_rows:
                continue
            last = _in_place(table, sorted_rows, start, stop, last)
            for begin, end in _row_groups(sorted_rows):
                group = sorted_rows.slice(begin, end - begin)
                writer.write_table(group, row_group_size=end - begin)
        if last is None:
            writer.write_table(want.empty_table())


def _in_place(
    table: str, rows: pa.Table, start: int, stop: int, last: tuple[Any, ...] | None
) -> tuple[Any, ...]:
    """The key of a part's last row; WarehouseError where the part does not belong after `last`."""
    sequence = rows["sequence"].to_numpy()
    if not (start <= sequence.min() and sequence.max() < stop):
        raise WarehouseError(
            f"a shard of {table} for sequences {start} to {stop - 1} was given sequences "
            f"{sequence.min()} to {sequence.max()}"
        )
    keys = [name for name in SORTED_BY if name in rows.column_names]
    first, newest = (tuple(rows[key][i].as_py() for key in keys) for i in (0, -1))
    if last is not None and first <= last:
        raise WarehouseError(f"a shard of {table}: a part begins at {first}, after {last}")
    return newest


def _arrow_rows(table: str, want: pa.Schema, columns: Mapping[str, Any]) -> pa.Table:
    """The columns flattened to rows, sorted by `SORTED_BY`."""
    if set(columns) != set(want.names):
        missing = sorted(set(want.names) - set(columns))
        unknown = sorted(set(columns) - set(want.names))
        raise WarehouseError(f"a shard of {table}: missing {missing}, unknown columns {unknown}")
    # Text and lists are looked up by number: numbers broadcast and sort faster.
    looked_up: dict[str, pa.Array] = {}
    arrays = []
    for field in want:
        array = columns[field.name]
        if pa.types.is_list(field.type):
            looked_up[field.name] = _lists(array, field.type)
            array = np.arange(len(looked_up[field.name]))
        elif pa.types.is_string(field.type):
            texts, codes = np.unique(np.asarray(array), return_inverse=True)
            looked_up[field.name] = pa.array(texts.tolist(), pa.string())
            array = codes.astype(np.int32).reshape(np.shape(array))
        arrays.append(np.asarray(array))
    try:
        together = np.broadcast_arrays(*arrays)
    except ValueError as error:
        shapes = {name: array.shape for name, array in zip(want.names, arrays, strict=True)}
        raise WarehouseError(f"a shard of {table}: shapes do not broadcast: {shapes}") from error
    flat = {name: a.ravel() for name, a in zip(want.names, together, strict=True)}
    keys = [flat[name] for name in SORTED_BY if name in flat]
    if not _is_sorted(keys):
        order = np.lexsort(keys[::-1])
        flat = {name: array[order] for name, array in flat.items()}
    return pa.table(
        [
            looked_up[field.name].take(pa.array(flat[field.name]))
            if field.name in looked_up
            else pa.array(flat[field.name]).cast(field.type)
            for field in want
        ],
        schema=want,
    )


def _lists(values: Any, kind: pa.ListType) -> pa.Array:
    """One list for each row: of an array [row item], of Arrow lists, or of an array per row."""
    if isinstance(values, np.ndarray) and values.ndim == 2:
        rows, items = values.shape
        offsets = pa.array(np.arange(rows + 1) * items, pa.int32())
        flat = pa.array(np.ascontiguousarray(values).ravel()).cast(kind.value_type)
        return pa.ListArray.from_arrays(offsets, flat, type=kind)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)


def _holds_floats(field: pa.Field) -> bool:
    item = field.type.value_type if pa.types.is_list(field.type) else field.type
    return bool(pa.types.is_floating(item))


def _leaf(field: pa.Field) -> str:
    """A column's name in Parquet, where the items of a list are a column of their own."""
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name


def _is_sorted(keys: list[NDArray[Any]]) -> bool:
    """True where the rows are in lexicographic order of the keys already."""
    tied = np.ones(max(len(keys[0]) - 1, 0), dtype=bool)
    for key in keys:
        before, after = key[:-1], key[1:]
        if np.any(tied & (before > after)):
            return False
        tied &= before == after
    return True


def _row_groups(rows: pa.Table) -> list[tuple[int, int]]:
    """(first, last) of each row group: whole heads of one ablation and layer."""
    n = rows.num_rows
    least = ROW_GROUP * n / max(rows.nbytes, 1)
    keys = [name for name in HEADS_BY if name in rows.column_names]
    starts = [np.flatnonzero(_changes(rows[key])) + 1 for key in keys]
    head_starts = set(np.concatenate([[0, n], *starts]).tolist())
    layer_starts = set(np.concatenate([[0, n], *starts[:-1]]).tolist()) if len(keys) > 1 else {0, n}
    groups, first = [], 0
    for here in sorted(head_starts):
        if here > first and (here - first >= least or here in layer_starts):
            groups.append((first, here))
            first = here
    return groups


def _changes(column: pa.ChunkedArray) -> NDArray[Any]:
    values = column.combine_chunks()
    codes = values.dictionary_encode().indices if pa.types.is_string(values.type) else values
    array = np.asarray(codes)
    return array[1:] != array[:-1]

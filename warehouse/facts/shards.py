"""The facts of a run while it is measured: immutable Parquet shards.

    facts/<table>/run=<slug>/sequences-000000-000016.<sha256>.parquet    sequences 0 to 15
    facts/<table>/run=<slug>/manifest.json                               which shards count

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

from selfrepair.warehouse.errors import WarehouseError, one_clear_line
from selfrepair.warehouse.facts.tables import fact_tables, schema
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.sealed import is_intact, sealed_files, write_sealed

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


def intact_shard(
    warehouse: Warehouse,
    table: str,
    run_id: str,
    start: int,
    stop: int,
    fingerprint: str,
    precision: str | None = None,
) -> Path | None:
    """The shard, if it is there, has the bytes that were written, and was measured for this spec.

    The bytes are read once in a process, and again when the file changes.

    precision: what it must have been measured in; None takes any.
    """
    folder = warehouse.facts(table, run_id)
    for path in sealed_files(folder, shard_stem(start, stop), ".parquet"):
        of_spec = is_intact(path) and shard_fingerprint(path) == fingerprint
        if of_spec and precision in (None, shard_precision(path)):
            return path
    return None


def shards_there(warehouse: Warehouse, table: str, run_id: str) -> set[tuple[int, int]]:
    """Of which sequences there is a shard, by the names alone: its bytes are not looked at."""
    folder = warehouse.facts(table, run_id)
    names = [SHARD_NAME.fullmatch(p.name) for p in folder.iterdir()] if folder.is_dir() else []
    return {(int(name[1]), int(name[2])) for name in names if name}


def shard_fingerprint(path: Path) -> str | None:
    """The spec's fingerprint in a shard's footer; None where the file is not a shard."""
    return _in_footer(path, b"spec_fingerprint")


def shard_precision(path: Path) -> str | None:
    """The precision that a shard was measured in; None where its run knows one only."""
    return _in_footer(path, b"layer_precision")


def _in_footer(path: Path, key: bytes) -> str | None:
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    found = metadata.get(key)
    return found.decode() if found else None


def fingerprints(warehouse: Warehouse, run_id: str) -> set[str]:
    """Of which specs there are shards of a run; the file tells, where it can be read."""
    found: set[str | None] = set()
    for table in fact_tables():
        folder = warehouse.facts(table, run_id)
        for path in folder.glob("sequences-*.parquet") if folder.is_dir() else []:
            found.add(shard_fingerprint(path))
    return {fingerprint for fingerprint in found if fingerprint}


def write_shard(
    warehouse: Warehouse,
    table: str,
    run_id: str,
    start: int,
    stop: int,
    rows: Mapping[str, Any] | Iterable[Mapping[str, Any]],
    fingerprint: str,
    precision: str | None = None,
) -> Path:
    """Writes one shard whole or not at all, and returns its path.

    rows: one array per column of `schema(table)`, of shapes that broadcast together, such as
        layer[layer 1 1 1] with direct_effect[layer head sequence pos]; text as arrays of str;
        a column of lists as an array [row item], a sequence of arrays or an Arrow list array, one
        for each row, the others being flat then. They need not be sorted. Or several such parts,
        one after the other in the order of `SORTED_BY`: one of them is in memory at a time.
    precision: what they were measured in, where a run may change it on its way.
    Raises WarehouseError for a missing or unknown column, a sequence outside [start, stop), parts
    out of order, a value that the column cannot hold, and where the disk does not take the file.
    """
    want = schema(table)
    parts = [rows] if isinstance(rows, Mapping) else rows
    footer = {"spec_fingerprint": fingerprint, "table": table, "run_id": run_id}
    if precision is not None:
        footer["layer_precision"] = precision

    def write(file: Any) -> None:
        last: tuple[Any, ...] | None = None
        with pq.ParquetWriter(
            file,
            want,
            compression="zstd",
            use_dictionary=[_leaf(f) for f in want if not _holds_floats(f)],
        ) as writer:
            writer.add_key_value_metadata(footer)
            for part in parts:
                sorted_rows = _arrow_rows(table, want, part)
                if not sorted_rows.num_rows:
                    continue
                last = _in_place(table, sorted_rows, start, stop, last)
                for begin, end in _row_groups(sorted_rows):
                    group = sorted_rows.slice(begin, end - begin)
                    writer.write_table(group, row_group_size=end - begin)
            if last is None:
                writer.write_table(want.empty_table())

    with one_clear_line(f"write a shard of {table} for {run_id}"):
        folder = warehouse.facts(table, run_id)
        return write_sealed(folder, shard_stem(start, stop), ".parquet", write)


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

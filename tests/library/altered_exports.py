"""Exports that were truncated, altered or made to harm: each a small function of its folder."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from selfrepair.exchange import layout
from selfrepair.warehouse.sealed import read_json, write_json

Alter = Callable[[Path], None]


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

"""What an asset shows of its result in the Dagster UI: columns, row counts, a picture or rows."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np
from PIL import Image

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.tables import schema
from selfrepair.warehouse.sql_files import column_comments, relation
from selfrepair.warehouse.sql_parsing import literal

CELL = 14
"""Pixels of one head in a heat map."""


def describe(name: str) -> str:
    """A relation's documentation from its SQL file, for Dagster's markdown."""
    return relation(name).comment.replace("\n", "  \n")


def table_schema(name: str) -> dict[str, Any]:
    """A table's columns with their types and meanings, under the key that Dagster shows."""
    columns = {"run_id": "string"} | {field.name: str(field.type) for field in schema(name)}
    return column_schema(name, columns)


def column_schema(name: str, types: dict[str, str]) -> dict[str, Any]:
    comments = column_comments(name, list(types))
    columns = [dg.TableColumn(n, t, description=comments[n]) for n, t in types.items()]
    return {"dagster/column_schema": dg.TableSchema(columns=columns)}


def row_count(rows: int) -> dict[str, Any]:
    return {"dagster/row_count": dg.MetadataValue.int(rows)}


def preview(
    connection: duckdb.DuckDBPyConnection, sql: str, rows: int = 5
) -> dg.MarkdownMetadataValue:
    """The first rows of a query as a markdown table."""
    cursor = connection.execute(f"select * from ({sql}) limit {rows}")
    names = [column[0] for column in cursor.description or []]
    lines = [names, ["---"] * len(names), *(map(_cell, row) for row in cursor.fetchall())]
    return dg.MetadataValue.md("\n".join("| " + " | ".join(line) + " |" for line in lines))


def preview_of(files: Sequence[Path]) -> dg.MarkdownMetadataValue:
    """The first rows of some shards."""
    with duckdb.connect() as connection:
        return preview(connection, f"select * from read_parquet({literal(files[0])})")


def heat_map(values: np.ndarray, caption: str) -> dg.MarkdownMetadataValue:
    """A [layer head] picture, red above zero and blue below; layers go down, heads go right."""
    largest = np.nanmax(np.abs(values)) or 1.0
    share = np.nan_to_num(values / largest)
    fade = (255 * (1 - np.abs(share))).astype(np.uint8)
    full = np.full_like(fade, 255)
    rgb = np.stack([np.where(share > 0, full, fade), fade, np.where(share > 0, fade, full)], -1)
    rgb[np.isnan(values)] = 128
    size = (values.shape[1] * CELL, values.shape[0] * CELL)
    buffer = io.BytesIO()
    Image.fromarray(rgb).resize(size, Image.Resampling.NEAREST).save(buffer, format="png")
    picture = base64.b64encode(buffer.getvalue()).decode()
    return dg.MetadataValue.md(
        f"![{caption}](data:image/png;base64,{picture})  \n{caption}: layers down, heads right, "
        f"red positive, blue negative, strongest {largest:.3g}."
    )


def mean_by_head(files: Sequence[Path], expression: str, macro: str | None = None) -> np.ndarray:
    """The mean of an expression over each head's rows in some shards, as [layer head].

    macro: of `sql/macros/`, which the expression calls.
    """
    with duckdb.connect() as connection:
        if macro is not None:
            connection.execute(relation(macro).body)
        rows = connection.execute(
            f"select layer, head, avg({expression}) from read_parquet($files) group by all",
            {"files": [str(file) for file in files]},
        ).fetchall()
    if not rows:
        raise WarehouseError("there are no rows to draw: measure the run again with --restart")
    layers, heads, _ = (max(column) for column in zip(*rows, strict=True))
    picture = np.full((int(layers) + 1, int(heads) + 1), np.nan)
    for layer, head, value in rows:
        picture[layer, head] = value
    return picture


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", "⏎")

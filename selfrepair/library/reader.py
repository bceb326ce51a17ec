"""One generation of a warehouse, open for reading: what every question of `opened.py` stands on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Self

import duckdb
import pandas as pd

from selfrepair.names import unknown
from selfrepair.warehouse.connection import draw_no_bar
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import current_generation, open_serving
from selfrepair.warehouse.sql_parsing import filled_in, names_read
from selfrepair_assets.measurement.ablations import in_order
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.heads import Head


class Reader:
    """Asks SQL of one generation, or of the newest where it follows, and knows what is there."""

    def __init__(self, warehouse: Warehouse, *, follow: bool = False) -> None:
        self.path, self.follow = warehouse.root, follow
        self._warehouse = warehouse
        self._open()

    def __repr__(self) -> str:
        return f"<warehouse {self.path}, generation {self.generation}: {', '.join(self._runs)}>"

    def refresh(self) -> bool:
        """Goes on to the newest generation; whether there was a newer one."""
        if current_generation(self._warehouse) == self.generation:
            return False
        self._connection.close()
        self._open()
        return True

    def close(self) -> None:
        """Closes the file; the warehouse can be opened again."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sql(self, query: str, **parameters: Any) -> pd.DataFrame:
        """The rows of any query; `$name` in it is the parameter of that name.

        Raises InputError, in one line, where DuckDB cannot answer; it names what is nearest to an
        unknown table or column.
        """
        if self.follow:
            self.refresh()
        query = query.strip().removesuffix(";")
        try:
            frame = self._connection.execute(query, parameters or None).df()
        except duckdb.Error as error:
            said = " ".join(str(error).partition("\n\nLINE")[0].split())
            raise InputError(said) from None
        frame.attrs["sql"] = filled_in(query, parameters)
        frame.attrs["columns"] = self._meanings(query, frame.columns)
        frame.attrs["generation"] = self.generation
        return frame

    def _open(self) -> None:
        self._connection = open_serving(self._warehouse, attach=True)
        draw_no_bar(self._connection)
        self.generation = int(self._values("select generation from generation")[0])
        for known in ("_runs", "_comments"):
            self.__dict__.pop(known, None)

    def _values(self, query: str, parameters: list[Any] | None = None) -> list[Any]:
        """The first column of a query."""
        return [row[0] for row in self._connection.execute(query, parameters).fetchall()]

    @cached_property
    def _runs(self) -> list[str]:
        return self._values("select run_id from runs order by run_id")

    def _run(self, run: str) -> str:
        if self.follow:
            self.refresh()
        if run not in self._runs:
            raise InputError(unknown("run", run, self._runs))
        return run

    def _ablation(self, run: str, ablation: str | None) -> str:
        """The ablation that is meant; where none is said, the first in the order of `ABLATIONS`."""
        (measured,) = self._values("select ablations from runs where run_id = ?", [self._run(run)])
        if ablation is None:
            return in_order(measured)[0]
        if ablation not in measured:
            raise InputError(unknown(f"ablation of {run}", ablation, measured))
        return ablation

    def _of_head(self, run: str, head: str, ablation: str | None) -> dict[str, Any]:
        """The parameters of OF_HEAD; InputError for a head that was not ablated in the run."""
        chosen = self._ablation(run, ablation)
        try:
            named = Head.parse(head)
        except InputError:
            named = None
        known = self._values(
            "select name from head_summary where run_id = ? and ablation = ? order by layer, head",
            [run, chosen],
        )
        if named is None or str(named) not in known:
            raise InputError(unknown(f"head of {run}", head, known))
        return {"run": run, "ablation": chosen, "layer": named.layer, "head": named.head}

    @cached_property
    def _comments(self) -> dict[tuple[str, str], str]:
        """What each column of each relation means."""
        rows = self._connection.execute(
            "select table_name, column_name, comment from duckdb_columns()"
            " where not internal and comment is not null"
        )
        return {(table, column): comment for table, column, comment in rows.fetchall()}

    def _columns_of(self, relation: str) -> list[str]:
        return [column for table, column in self._comments if table == relation]

    def _meanings(self, query: str, columns: Iterable[str]) -> dict[str, str]:
        """What columns mean in the relations that a query reads, else wherever they are said."""
        try:
            read = names_read("view", "the query", query)
        except WarehouseError:  # it is no select
            read = set()
        anywhere = {column: said for (_, column), said in reversed(self._comments.items())}
        here = {column: said for (table, column), said in self._comments.items() if table in read}
        known = {**anywhere, **here}
        return {column: known[column] for column in columns if column in known}

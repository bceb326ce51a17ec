"""A published warehouse in a notebook: each question a method, each answer a DataFrame.

Of an answer, `.attrs["sql"]` is the SQL that was asked, as it can be pasted into a DuckDB prompt,
`.attrs["columns"]` what each column means, with its unit, and `.attrs["generation"]` the generation
of the warehouse that answered. A head is written "L26H6".
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd

from selfrepair import extras
from selfrepair.names import unknown
from selfrepair.warehouse.connection import draw_no_bar
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import current_generation, open_serving
from selfrepair.warehouse.sql_parsing import filled_in, names_read
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.heads import Head

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROWS = ("top_by_direct_effect", "top_by_mlp_repair", "all")
NAME = "'L' || layer || 'H' || head as name"
OF_HEAD = """where run_id = $run
    and ablation = $ablation
    and layer = $layer
    and head = $head"""


def open(path: str | Path | None = None, *, follow: bool = False) -> OpenWarehouse:
    """Opens what is published in a warehouse, read-only.

    path: the warehouse's folder; default $SELFREPAIR_WAREHOUSE, else ./warehouse/data.
    follow: ask the newest generation always; else the one that was opened, until `refresh`.

    Raises WarehouseError where nothing is published there.
    """
    return OpenWarehouse(Warehouse(path), follow=follow)


class OpenWarehouse:
    """One generation of a published warehouse, open for reading."""

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

    def __enter__(self) -> OpenWarehouse:
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

    def runs(self) -> pd.DataFrame:
        """One row per run, the newest first: model, text, settings."""
        return self.sql("from runs order by finished_at desc, run_id")

    def heads(self, run: str, *, ablation: str | None = None) -> pd.DataFrame:
        """One row per ablated head: view `head_summary`, with its kind where errors allow one."""
        return self.sql(
            f"""
select {NAME}, kind, head_summary.*
from head_summary
left join (
    select run_id, ablation, layer, head, kind
    from head_kinds
    where row_set = 'top_by_direct_effect'
) using (run_id, ablation, layer, head)
where run_id = $run
    and ablation = $ablation
order by layer, head""",
            run=self._run(run),
            ablation=self._ablation(run, ablation),
        )

    def layers(self, run: str, *, ablation: str | None = None) -> pd.DataFrame:
        """One row per layer: view `layer_summary`, the means over its heads."""
        return self.sql(
            "from layer_summary where run_id = $run and ablation = $ablation order by layer",
            run=self._run(run),
            ablation=self._ablation(run, ablation),
        )

    def tokens(
        self,
        run: str,
        head: str,
        *,
        n: int = 20,
        order: str = "direct_effect",
        ascending: bool = False,
        rows: str = "top_by_direct_effect",
        search: str = "",
        ablation: str | None = None,
    ) -> pd.DataFrame:
        """One row per token of a head, the largest `order` first: its text and what happened.

        rows: "top_by_direct_effect" (the paper's choice), "top_by_mlp_repair" or "all".
        order: a column of the view `self_repair`, or `logit`.
        search: only tokens whose text, or their target's, contains it.
        """
        if rows not in ROWS:
            raise InputError(unknown("set of rows", rows, ROWS))
        view = "self_repair" if rows == "all" else rows
        known = [*self._columns_of("self_repair"), "logit", "token_text", "target_text"]
        if order not in known:
            raise InputError(unknown("column to order by", order, known))
        return self.sql(
            f"""
select {NAME}, token_text, target_text, logit, {view}.*
from {view}
join tokens using (run_id, sequence, position)
{OF_HEAD}
    and (contains(lower(token_text), $search) or contains(lower(target_text), $search))
order by {order} {"asc" if ascending else "desc"}, sequence, position
limit $n""",
            **self._of_head(run, head, ablation),
            search=search.lower(),
            n=n,
        )

    def repairers(
        self,
        run: str,
        head: str,
        sequence: int | None = None,
        position: int | None = None,
        *,
        ablation: str | None = None,
    ) -> pd.DataFrame:
        """Who repairs a head, the largest change of direct effect first.

        Over the head's top rows, one row per downstream head and MLP layer with its error (view
        `component_repairs`); at one token where sequence and position name one of these rows.
        """
        named = "if(component = 'mlp', 'MLP ' || component_layer, "
        named += "'L' || component_layer || 'H' || component_head) as name"
        if sequence is None or position is None:
            return self.sql(
                f"select {named}, * from component_repairs\n{OF_HEAD}\n"
                "order by direct_effect_change desc",
                **self._of_head(run, head, ablation),
            )
        return self.sql(
            f"""
with

kept as (
    select n_layers, n_heads, head_changes, mlp_changes
    from component_changes
    join runs using (run_id)
    {OF_HEAD}
        and sequence = $sequence
        and position = $position
),

components as (
    select
        'head' as component,
        n_layers - len(head_changes) // n_heads + i // n_heads as component_layer,
        i % n_heads as component_head,
        head_changes[i + 1] as direct_effect_change
    from kept, unnest(range(len(head_changes))) as places (i)
    union all
    select
        'mlp',
        n_layers - len(mlp_changes) + i,
        null,
        mlp_changes[i + 1]
    from kept, unnest(range(len(mlp_changes))) as places (i)
)

select {named}, *
from components
order by direct_effect_change desc""",
            **self._of_head(run, head, ablation),
            sequence=sequence,
            position=position,
        )

    def neurons(
        self,
        run: str,
        head: str,
        sequence: int | None = None,
        position: int | None = None,
        *,
        n: int = 20,
        ablation: str | None = None,
    ) -> pd.DataFrame:
        """Neurons of the last MLP layer that repair a head, the most repairing first.

        Over the head's top rows, those most often among the ten most repairing ones (stored
        `neuron_frequency`; only of the heads whose every neuron was kept); at one token, where
        sequence and position name one of its top rows, the most repairing ones there.
        """
        if sequence is None or position is None:
            return self.sql(
                f"from neuron_frequency\n{OF_HEAD}\n    and ranking = 'direct_effect'\n"
                "order by share_among_ten desc, neuron\nlimit $n",
                **self._of_head(run, head, ablation),
                n=n,
            )
        return self.sql(
            f"""
select
    unnest(neurons[:$n]) as neuron,
    unnest(direct_effects[:$n]) as direct_effect,
    unnest(direct_effects_ablated[:$n]) as direct_effect_ablated
from neuron_repairs
{OF_HEAD}
    and sequence = $sequence
    and position = $position""",
            **self._of_head(run, head, ablation),
            sequence=sequence,
            position=position,
            n=n,
        )

    def figure(
        self, figure: str, run: str, head: str | None = None, *, ablation: str | None = None
    ) -> go.Figure:
        """A figure as the app draws it; `warehouse.sql("from figures")` lists them.

        head: where the figure is of one head; default the one with most self-repair.
        """
        extras.require("app", "a figure")
        from selfrepair.drawing import draw

        if self.follow:
            self.refresh()
        if head is None:
            heads = self.heads(run, ablation=ablation).sort_values("self_repair", ascending=False)
            head = str(heads["name"].iloc[0])
        return draw(self._warehouse, str(figure), **self._of_head(run, head, ablation))

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
        """The ablation that is meant: resample where the run has it, else its first."""
        (measured,) = self._values("select ablations from runs where run_id = ?", [self._run(run)])
        if ablation is None:
            return "resample" if "resample" in measured else str(measured[0])
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
            "select 'L' || layer || 'H' || head from head_summary"
            " where run_id = ? and ablation = ? order by layer, head",
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
        known = {"name": "The head (L26H6) or MLP layer.", **anywhere, **here}
        return {column: known[column] for column in columns if column in known}

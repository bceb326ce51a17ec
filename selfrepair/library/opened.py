"""A published warehouse in a notebook: each question a method, each answer a DataFrame.

Of an answer, `.attrs["sql"]` is the SQL that was asked, as it can be pasted into a DuckDB prompt,
`.attrs["columns"]` what each column means, with its unit, and `.attrs["generation"]` the generation
of the warehouse that answered. A head is written "L26H6".
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from selfrepair import extras
from selfrepair.library.reader import Reader
from selfrepair.names import unknown
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.errors import InputError

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROWS = ("top_by_direct_effect", "top_by_mlp_repair", "all")
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


class OpenWarehouse(Reader):
    """One generation of a published warehouse, open for reading."""

    def runs(self) -> pd.DataFrame:
        """One row per run, the newest first: model, text, settings."""
        return self.sql("from runs order by finished_at desc, run_id")

    def heads(self, run: str, *, ablation: str | None = None) -> pd.DataFrame:
        """One row per ablated head: view `head_summary`, with its kind where errors allow one."""
        return self.sql(
            """
select name, kind, head_summary.* exclude (name)
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
select name, token_text, target_text, logit, {view}.* exclude (name)
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
        if sequence is None or position is None:
            return self.sql(
                "select component_name, * exclude (component_name) from component_repairs\n"
                f"{OF_HEAD}\norder by direct_effect_change desc",
                **self._of_head(run, head, ablation),
            )
        return self.sql(
            "select component_name, * exclude (component_name) from token_repairers\n"
            f"{OF_HEAD}\n    and sequence = $sequence\n    and position = $position\n"
            "order by direct_effect_change desc",
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
        self,
        figure: str,
        run: str,
        head: str | None = None,
        *,
        ablation: str | None = None,
        **choices: Any,
    ) -> go.Figure:
        """A chart as the app draws it; `warehouse.sql("from figures")` lists the paper's.

        head: where the chart is of one head; default the one with most self-repair.
        choices: what can be chosen of it, such as rows="all tokens".
        """
        extras.require("app", "a figure")
        from selfrepair.library.drawing import draw

        subject = self._subject(run, head, ablation)
        return draw(self._warehouse, self._connection, str(figure), subject, choices)

    def save_figure(
        self,
        figure: str,
        run: str,
        head: str | None = None,
        *,
        ablation: str | None = None,
        width: str = "column",
        output: str | Path = ".",
        **choices: Any,
    ) -> list[Path]:
        """Writes the same chart for a paper: SVG, PDF, its caption, and the Python that draws it.

        width: "column" (3.25 inches) or "double" (6.75). output: the folder; the files' names say
        run, head, ablation and figure.
        """
        extras.require("paper", "a figure for a paper")
        from selfrepair.library.drawing import save

        subject = self._subject(run, head, ablation)
        warehouse, connection = self._warehouse, self._connection
        return save(warehouse, connection, str(figure), subject, width, output, choices)

    def cite(self, run: str) -> str:
        """Methods text with every setting of a run, versions, and the BibTeX to cite."""
        from selfrepair.paper.methods import methods

        rows = self.sql("from runs where run_id = $run", run=self._run(run))
        clusters = self.sql("from run_clusters where run_id = $run", run=run)
        return methods(rows.iloc[0].to_dict(), clusters.iloc[0].to_dict())

    def _subject(self, run: str, head: str | None, ablation: str | None) -> dict[str, Any]:
        """Run, ablation and, where one is named, head."""
        if head is not None:
            return self._of_head(run, head, ablation)
        return {"run": self._run(run), "ablation": self._ablation(run, ablation)}

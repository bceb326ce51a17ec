"""What a finished run says at a glance, from the published views alone."""

from __future__ import annotations

import click
import duckdb

from warehouse.paths import Warehouse
from warehouse.read import open_serving

BAR = 24
"""Characters of the longest bar."""


def print_summary(warehouse: Warehouse, run_id: str, seconds: float) -> None:
    with open_serving(warehouse) as connection:
        _print_layers(connection, run_id)
        _print_heads(connection, run_id)
    minutes, rest = divmod(round(seconds), 60)
    shown = _shown(warehouse.serving)
    click.echo(f"\nDone in {minutes} min {rest} s. Three ways on:")
    click.echo("  look     make app        browse the figures, heads and tokens")
    click.echo(f"  ask      make sql        DuckDB over {shown}; try: show tables")
    click.echo("  measure  make dagster    add a model as a partition and materialize it")


def _print_layers(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    rows = connection.execute(
        """
        select ablation, layer, n_heads, direct_effect, self_repair, self_repair_from_heads,
            self_repair_from_mlps, self_repair_from_layernorm, layernorm_fraction_clipped
        from layer_summary
        where run_id = ?
        order by ablation, layer
        """,
        [run_id],
    ).fetchall()
    share = connection.execute(
        "select top_fraction from runs where run_id = ?", [run_id]
    ).fetchone()
    assert share is not None
    click.echo(
        "\nSelf-repair of a head, in logits: "
        f"layer means over each head's top {100 * share[0]:g} % tokens"
    )
    longest = max((abs(row[4]) for row in rows if row[4] is not None), default=1.0) or 1.0
    for ablation in dict.fromkeys(row[0] for row in rows):
        click.echo(
            f"\n{ablation:9} direct  self-   of which from             LayerNorm\n"
            "layer     effect  repair  heads    MLPs   LayerNorm   share*"
        )
        for _, layer, _, direct, repair, heads, mlps, norm, clipped in (
            row for row in rows if row[0] == ablation
        ):
            bar = "█" * round(BAR * abs(repair or 0.0) / longest)
            colour = "green" if (repair or 0.0) > 0 else "red"
            click.echo(
                f"{layer:>5} {_number(direct, 10)} {_number(repair, 7)} {_number(heads, 6)} "
                f"{_number(mlps, 7)} {_number(norm, 9)} {_number(clipped, 9, '.0%')}  "
                + click.style(bar, fg=colour)
            )
    click.echo(
        "* of the direct effect, per token cut to 0..100 %, then averaged (the paper: ~30 %)"
    )


def _print_heads(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    rows = connection.execute(
        """
        select ablation, 'L' || layer || 'H' || head, direct_effect, logit_change,
            self_repair, self_repair_se, self_repair / direct_effect
        from head_summary
        where run_id = ? and direct_effect > 0
        order by self_repair desc
        limit 8
        """,
        [run_id],
    ).fetchall()
    click.echo("\nMost repaired heads  direct effect  logit change   self-repair   repaired")
    for ablation, head, direct, change, repair, error, share in rows:
        click.echo(
            f"{head:8} {ablation:10} {_number(direct, 14)} {_number(change, 13)} "
            f"{_number(repair, 8)} ± {_number(error, 5)} {_number(share, 8, '.0%')}"
        )


def _number(value: float | None, width: int, digits: str = ".3f") -> str:
    """A number, or a dash where there were too few tokens for one."""
    return ("-" if value is None else format(value, digits)).rjust(width)


def _shown(path: object) -> str:
    """A path as a user would write it here."""
    import os
    from pathlib import Path

    there = Path(str(path))
    here = os.path.relpath(there)
    return here if not here.startswith("..") else str(there)

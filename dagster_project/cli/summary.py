"""What a finished run says at a glance, from the published views alone."""

from __future__ import annotations

import shutil
import sys

import click
import duckdb

from selfrepair.app.wording import words
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from selfrepair.warehouse.published.runs import row_as_published

BAR = 24
"""Characters of the longest bar."""
FEWEST_CLUSTERS = 10
"""That a head's label needs (run_clusters)."""


def print_summary(warehouse: Warehouse, run_id: str, seconds: float | None = None) -> None:
    """What is found of a run that was measured in so many seconds; None: of what is measured."""
    so_far = words.so_far(row_as_published(warehouse, run_id) or {"n_sequences": 0})
    with open_serving(warehouse) as connection:
        if so_far:
            click.echo(click.style(f"\n{run_id}: {so_far}", bold=True))
        _print_layers(connection, run_id)
        _print_what_is_repaired(connection, run_id)
        _print_heads(connection, run_id)
    if seconds is None:
        return
    minutes, rest = divmod(round(seconds), 60)
    shown = _shown(warehouse.serving)
    me = "selfrepair" if shutil.which("selfrepair") else _shown(sys.argv[0])
    click.echo(f"\nDone in {minutes} min {rest} s. Three ways on:")
    click.echo(f"  look     {me} app      browse the figures, heads and tokens")
    click.echo(f"  ask      {me} sql      DuckDB over {shown}; try: show tables")
    click.echo(f"  measure  {me} dagster  add a model as a partition and materialize it")


def _print_layers(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    rows = connection.execute(
        """
        select ablation, layer, direct_effect, direct_effect_removed, self_repair,
            self_repair_from_heads, self_repair_from_mlps, self_repair_from_layernorm,
            layernorm_fraction_clipped, if(post_norm, self_repair_from_post_norm, null)
        from layer_summary
        join runs using (run_id)
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
    has_post_norm = any(row[-1] is not None for row in rows)
    head = "  post-norm" if has_post_norm else ""
    for ablation in dict.fromkeys(row[0] for row in rows):
        click.echo(
            f"\n{ablation:9} direct           self-   of which from             the paper's\n"
            f"layer     effect  removed  repair  heads    MLPs   LayerNorm{head}  clipped*"
        )
        for _, layer, direct, removed, repair, heads, mlps, norm, clipped, post in (
            row for row in rows if row[0] == ablation
        ):
            bar = "█" * round(BAR * abs(repair or 0.0) / longest)
            colour = "green" if (repair or 0.0) > 0 else "red"
            click.echo(
                f"{layer:>5} {_number(direct, 10)} {_number(removed, 8)} {_number(repair, 7)} "
                f"{_number(heads, 6)} {_number(mlps, 7)} {_number(norm, 9)} "
                + (f"{_number(post, 9)} " if has_post_norm else "")
                + f"{_number(clipped, 9, '.0%')}  "
                + click.style(bar, fg=colour)
            )
    click.echo(
        "* LayerNorm's share of the direct effect, per token cut to 0..100 %, then averaged (the\n"
        "  paper: ~30 %): the cut makes a positive mean even of noise. The ratio is below."
    )


def _print_what_is_repaired(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    """Ratios of sums over the heads that count, and how many heads are of each kind."""
    rows = connection.execute(
        """
        select ablation, clustered_by, run_clusters.n_clusters, run_repair.n_heads,
            n_heads_counted,
            share_repaired, share_repaired_se, share_from_heads, share_from_heads_se,
            share_from_mlps, share_from_mlps_se, share_from_layernorm, share_from_layernorm_se,
            share_from_post_norm, share_from_post_norm_se, post_norm,
            n_repaired, n_overcorrected, n_broken, n_neither, n_not_removed, n_no_effect
        from run_repair
        join run_clusters using (run_id)
        join runs using (run_id)
        where run_id = ? and row_set = 'top_by_direct_effect'
        order by ablation
        """,
        [run_id],
    ).fetchall()
    if rows:
        click.echo("\nOf what is removed, on each head's top tokens, is repaired:")
    for ablation, by, n_clusters, n_heads, counted, *shares in rows:
        rest = shares[11:]
        clusters = f"{n_clusters} {by}{'' if n_clusters == 1 else 's'}"
        if rest[0] is None:
            why = (
                f"{clusters} are fewer than the {FEWEST_CLUSTERS} that a label of a head needs"
                if n_clusters < FEWEST_CLUSTERS
                else "there are too few top tokens"
            )
            click.echo(f"{ablation:9} not said: {why}")
            continue
        pairs = list(zip(shares[:10:2], shares[1:10:2], strict=True))
        all_of_it, heads, mlps, norm, post = (words.share_with_error(*pair) for pair in pairs)
        kinds = ("repaired", "overcorrected", "broken", "neither", "not removed", "no effect")
        click.echo(
            f"{ablation:9} {all_of_it}: by heads {heads}, MLPs {mlps}, LayerNorm {norm}"
            + (f", the post-norm {post}" if shares[10] else "")
            + f"\n{'':9} over the {counted} of {n_heads} heads that do something and are at least "
            f"half removed\n{'':9} heads: "
            + ", ".join(f"{n} {kind}" for n, kind in zip(rest, kinds, strict=True))
            + f"\n{'':9} (errors by {by}; labels at 5 %, corrected for {n_heads} heads, over "
            f"{clusters})"
        )


def _print_heads(connection: duckdb.DuckDBPyConnection, run_id: str) -> None:
    rows = connection.execute(
        """
        select ablation, name, direct_effect, direct_effect_removed,
            logit_change, self_repair, self_repair_se, share_hidden,
            share_removed < 0.5 and n_rows > 0 as is_little
        from head_summary
        where run_id = ? and direct_effect > 0
        order by self_repair desc
        limit 8
        """,
        [run_id],
    ).fetchall()
    click.echo(
        "\nMost repaired heads  direct effect  removed  logit change   self-repair   "
        "of what was removed"
    )
    for ablation, head, direct, removed, change, repair, error, share, is_little in rows:
        click.echo(
            f"{head:8} {ablation:10} {_number(direct, 14)} {_number(removed, 8)} "
            f"{_number(change, 13)} {_number(repair, 8)} ± {_number(error, 5)} "
            f"{_number(share, 8, '.0%')}" + ("  less than half removed" if is_little else "")
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

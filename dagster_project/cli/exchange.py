"""`selfrepair export`, `pack` and `import`: a run for, and from, a colleague."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from selfrepair.dagster_project.cli.place import WAREHOUSE
from selfrepair.warehouse.paths import Warehouse


@click.command("export")
@click.argument("run_id", metavar="MODEL")
@click.option(
    "--output", required=True, metavar="DIR", type=Path, help="The folder to make; it must be new."
)
@WAREHOUSE
def export_run(root: str, run_id: str, output: Path) -> None:
    """Write MODEL's run as Parquet, one DuckDB file, a dataset card and checksums."""
    from selfrepair.exchange.exporting import export

    with _shown(f"export {run_id}") as progress:
        export(Warehouse(root), run_id, output, progress)
    click.echo(f"{output} is written: read its README.md before you give it away")


@click.command("pack")
@click.argument("run_id", metavar="MODEL")
@click.option(
    "--output", required=True, metavar="FILE", type=Path, help="The file to make; it must be new."
)
@WAREHOUSE
def pack_run(root: str, run_id: str, output: Path) -> None:
    """Write MODEL's run, as it is published, into one DuckDB file, however large it is."""
    from selfrepair.warehouse.published.pack import pack

    with _shown(f"pack {run_id}") as progress:
        pack(Warehouse(root), run_id, output, progress)
    click.echo(f"{output} is written: {output.stat().st_size / 1e6:,.0f} MB")


@click.command("import")
@click.argument("place", metavar="DIR|URL")
@WAREHOUSE
def import_run(root: str, place: str) -> None:
    """Put an exported run into this warehouse: verified, checked and published, never executed."""
    from selfrepair.exchange.importing import bring

    warehouse = Warehouse(root)
    with _shown(f"import {place}") as progress:
        run_id, made = bring(place, warehouse, progress)
    if (warehouse.root / "dagster").exists():
        from selfrepair.dagster_project.instance import instance_of_command_line
        from selfrepair_assets.assets.resources import models

        with instance_of_command_line(warehouse) as instance:
            instance.add_dynamic_partitions(str(models.name), [run_id])
    click.echo(f"{run_id}: imported, and published as generation {made.number}")


@contextmanager
def _shown(title: str) -> Iterator[Callable[[float, str], None]]:
    """A progress callback that is shown; what fails is not said to be done."""
    from selfrepair_assets.progress import Work

    with closing(Work(title, "%", 100)) as work:
        try:
            yield work.reach
        except BaseException:
            work.tell = lambda _line: None
            raise

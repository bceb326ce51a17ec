"""`selfrepair status`, `publish` and `delete`."""

from __future__ import annotations

import click

from selfrepair_assets import ablation_steps, publish_steps
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.progress import Work
from selfrepair_assets.run_folder import RunFolder
from warehouse import publish
from warehouse.errors import WarehouseError
from warehouse.paths import Warehouse
from warehouse.publish import FactsMode
from warehouse.read import current_generation, open_serving


def print_status(warehouse: Warehouse) -> None:
    """The published runs, and those that are started and not finished."""
    generation = current_generation(warehouse) if warehouse.root.is_dir() else None
    _refuse_a_file(warehouse)
    if generation is None:
        click.echo(f"Nothing is published in {warehouse.root}. Start with: make demo")
    else:
        _print_published(warehouse, generation)
    published = publish.published_runs(warehouse)
    unfinished = [f for f in RunFolder.all_in(warehouse) if f.run_id not in published]
    for folder in unfinished:
        done = [s for s in folder.shards if ablation_steps.ablation_shard_done(folder, s)]
        share = len(done) / len(folder.shards)
        click.echo(
            f"half done: {folder.run_id}, {len(done)} of {len(folder.shards)} shards "
            f"({share:.0%}). "
            "The command that began it goes on from there."
        )


def _print_published(warehouse: Warehouse, generation: int) -> None:
    with open_serving(warehouse) as connection:
        rows = connection.execute(
            """
            select run_id, n_layers * n_heads, coalesce(len(heads), n_layers * n_heads), n_tokens,
                array_to_string(ablations, ','), corpus, precision, finished_at
            from runs
            order by finished_at
            """
        ).fetchall()
    size = warehouse.serving.resolve().stat().st_size
    click.echo(f"{warehouse.serving}: generation {generation}, {size / 1e6:,.0f} MB\n")
    width = max((len(row[0]) for row in rows), default=5)
    click.echo(f"{'run':{width}}  heads      tokens     ablations           corpus       measured")
    for run_id, heads, chosen, tokens, ablations, corpus, precision, finished in rows:
        click.echo(
            f"{run_id:{width}}  {chosen:>4}/{heads:<5}{tokens:>9,}  {ablations:18}  {corpus:11}  "
            f"{finished:%Y-%m-%d %H:%M} {precision}"
        )


def publish_runs(
    warehouse: Warehouse, run_id: str | None, facts: FactsMode, *, keep_shards: bool
) -> None:
    """Check and publish one run, or every run whose shards are all there."""
    _refuse_a_file(warehouse)
    folders = [RunFolder(warehouse, run_id)] if run_id else RunFolder.all_in(warehouse)
    if not folders:
        raise InputError(
            f"There is no run in {warehouse.root}. Start one with selfrepair run MODEL."
        )
    for folder in folders:
        folder.require()
        done = [ablation_steps.ablation_shard_done(folder, shard) for shard in folder.shards]
        if run_id is None and not all(done):
            click.echo(f"{folder.run_id}: not measured to the end, left alone", err=True)
            continue
        work = Work(f"publish {folder.run_id}", "%", 100)
        generation = publish_steps.publish_run(folder, facts, keep_shards, work.reach)
        work.close()
        click.echo(f"{folder.run_id}: published as generation {generation.number}")


def delete_run(warehouse: Warehouse, run_id: str, *, ask: bool) -> None:
    """Remove a run from the served file and from disk, and its partition from Dagster."""
    _refuse_a_file(warehouse)
    if ask:
        click.confirm(f"Remove '{run_id}' from {warehouse.root} for good?", abort=True)
    publish.delete(warehouse, run_id)
    if (warehouse.root / "dagster").is_dir():
        from dagster_project.instance import instance_of_command_line
        from selfrepair_assets.assets.resources import models

        with instance_of_command_line(warehouse) as instance:
            if instance.has_dynamic_partition(str(models.name), run_id):
                instance.delete_dynamic_partition(str(models.name), run_id)
    click.echo(f"{run_id} is removed")


def _refuse_a_file(warehouse: Warehouse) -> None:
    if any(path.is_file() for path in (warehouse.root, *warehouse.root.parents)):
        raise WarehouseError(f"{warehouse.root} is a file, or below one, not a warehouse's folder")

"""`selfrepair status`, `publish` and `delete`; torch is imported where something is published."""

from __future__ import annotations

from contextlib import ExitStack, closing

import click

from selfrepair.app.wording import words
from selfrepair.dagster_project.cli.command import command_for
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.plan import all_plans, require_plan
from selfrepair.warehouse.facts.unfinished import is_measured, unfinished
from selfrepair.warehouse.locks import is_held, refuse_if_held
from selfrepair.warehouse.paths import Warehouse, slug
from selfrepair.warehouse.published import publish
from selfrepair.warehouse.published.generations import outside_of
from selfrepair.warehouse.published.read import current_generation, open_serving
from selfrepair.warehouse.published.runs import (
    is_known,
    refuse_unknown,
    row_as_published,
    runs_to_the_end,
)
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.progress import Work


def print_status(warehouse: Warehouse) -> None:
    """The published runs, those that are started and not finished, and what is damaged."""
    generation = current_generation(warehouse) if warehouse.root.is_dir() else None
    _refuse_a_file(warehouse)
    published: list[str] = []
    if generation is None:
        click.echo(f"Nothing is published in {warehouse.root}. Start with: selfrepair demo")
    else:
        try:
            _print_published(warehouse, generation)
            published = runs_to_the_end(warehouse)
        except WarehouseError as error:
            click.echo(
                f"damaged: {error}. `selfrepair publish` builds the published file anew from the "
                "shards; `selfrepair doctor` says what else is damaged."
            )
    for run in unfinished(warehouse, published):
        done = f"{run.run_id}, {run.shards_done} of {run.n_shards} shards ({run.share:.0%})."
        if is_held(warehouse.run_lock(run.run_id)):
            click.echo(f"at work: {done}")
        else:
            click.echo(f"half done: {done} Go on with: {command_for(warehouse, run.run_id)}")
    for plan in all_plans(warehouse):
        if isinstance(plan, WarehouseError):
            click.echo(f"damaged: {plan}")


def _print_published(warehouse: Warehouse, generation: int) -> None:
    with open_serving(warehouse) as connection:
        found = connection.execute("from runs order by finished_at")
        names = [column[0] for column in found.description or []]
        runs = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    served = warehouse.serving.resolve()
    beside = sum(path.stat().st_size for path in outside_of(served))
    also = f", and {beside / 1e6:,.0f} MB beside it" if beside else ""
    size = served.stat().st_size / 1e6
    click.echo(f"{warehouse.serving}: generation {generation}, {size:,.0f} MB{also}\n")
    width = max((len(run["run_id"]) for run in runs), default=5)
    click.echo(f"{'run':{width}}  heads      tokens     ablations           corpus       measured")
    for run in runs:
        heads = run["n_layers"] * run["n_heads"]
        chosen = heads if run["heads"] is None else len(run["heads"])
        so_far = words.so_far(run)
        click.echo(
            f"{run['run_id']:{width}}  {chosen:>4}/{heads:<5}{run['n_tokens']:>9,}  "
            f"{','.join(run['ablations']):18}  {run['corpus']:11}  "
            f"{run['finished_at']:%Y-%m-%d %H:%M} {run['precision']}" + (so_far and f", {so_far}")
        )


def publish_runs(warehouse: Warehouse, run_id: str | None, *, keep_shards: bool) -> None:
    """Check and publish one run, or the part of it that is measured; or every measured run."""
    _refuse_a_file(warehouse)
    # An empty name is an unset shell variable, and not every run.
    runs = list(all_plans(warehouse)) if run_id is None else [require_plan(warehouse, run_id)]
    if not runs:
        raise InputError(
            f"There is no run in {warehouse.root}. Start one with selfrepair run MODEL."
        )
    failed = []
    for plan in runs:
        if isinstance(plan, WarehouseError):
            failed.append(plan)
            continue
        if run_id is None and not is_measured(warehouse, plan):
            click.echo(f"{plan.run_id}: not measured to the end, left alone", err=True)
            continue
        try:
            _publish(warehouse, plan.run_id, keep_shards)
        except WarehouseError as error:
            failed.append(error)
    for one in failed[:-1]:
        click.echo(f"not published: {one}", err=True)
    if failed:
        raise failed[-1]


def _publish(warehouse: Warehouse, run_id: str, keep_shards: bool) -> None:
    from selfrepair_assets.steps.parts import part_to_publish
    from selfrepair_assets.steps.published import publish_run
    from selfrepair_assets.steps.sharded.run_folder import RunFolder

    with closing(Work(f"publish {run_id}", "%", 100)) as work:
        folder = RunFolder(warehouse, run_id)
        part = part_to_publish(folder)
        generation = publish_run(folder, keep_shards, work.reach, part)
    so_far = words.so_far(row_as_published(warehouse, run_id) or {"n_sequences": 0})
    told = f"{run_id}: published as generation {generation.number}"
    click.echo(f"{told}, {so_far}" if so_far else told)


def delete_run(warehouse: Warehouse, run_id: str, *, ask: bool) -> None:
    """Remove a run from the served file and from disk, and its partition from Dagster.

    What cannot be done is found out first: then nothing is asked, and nothing is done.
    """
    from selfrepair.dagster_project.instance import instance_of_command_line
    from selfrepair_assets.assets.resources import models

    _refuse_a_file(warehouse)
    slug(run_id)  # a name that can be none
    with ExitStack() as stack:
        instance = None
        if (warehouse.root / "dagster").exists():
            instance = stack.enter_context(instance_of_command_line(warehouse))
        is_partition = instance and instance.has_dynamic_partition(str(models.name), run_id)
        if not is_partition:
            refuse_unknown(warehouse, run_id)
        refuse_if_held(warehouse, run_id)
        if ask:
            click.confirm(f"Remove '{run_id}' from {warehouse.root} for good?", abort=True)
        if is_known(warehouse, run_id):  # else it is a partition without anything measured
            publish.delete(warehouse, run_id)
        if instance and is_partition:
            instance.delete_dynamic_partition(str(models.name), run_id)
    click.echo(f"{run_id} is removed")


def _refuse_a_file(warehouse: Warehouse) -> None:
    if any(path.is_file() for path in (warehouse.root, *warehouse.root.parents)):
        raise WarehouseError(f"{warehouse.root} is a file, or below one, not a warehouse's folder")

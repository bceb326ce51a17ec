"""`selfrepair run`: materialize the Dagster assets in this process, then show what was found."""

from __future__ import annotations

import errno
import logging
import time
import warnings
from typing import TYPE_CHECKING, Any

import click

from selfrepair.dagster_project.cli.summary import print_summary
from selfrepair.dagster_project.slots import (
    free_slots_of_dead_runs,
    tags_of_this_process,
    warn_if_busy,
)
from selfrepair.errors import OneLineError
from selfrepair.warehouse.errors import ADVICE, WarehouseError, refuse_full_disk
from selfrepair.warehouse.locks import refuse_if_held, run_held
from selfrepair.warehouse.object_store import keep_facts_at, keep_facts_here
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.steps import run_spec as run_spec_step
from selfrepair_assets.steps.published import failed_checks
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.workers.deployment import Workers

if TYPE_CHECKING:
    from selfrepair_assets.measurement.model.models import LoadedModel

HERE = Workers()
DISK_IS_FULL = ("No space left on device", "database or disk is full")


def run_model(
    warehouse: Warehouse,
    spec: RunSpec,
    *,
    restart: bool = False,
    workers: Workers = HERE,
    facts: str | None = None,
) -> None:
    """Measure and publish one run; facts: the store where its shards lie too.

    Raises:
        OneLineError: before anything is written, where that can be known.
    """
    _quiet()
    began = time.monotonic()
    folder = RunFolder(warehouse, spec.run_id)
    click.echo(f"loading {spec.run_id} …", err=True)
    refuse_if_held(warehouse, spec.run_id)
    workers.is_this_process(spec.device)  # whether what is asked for can be
    is_new = facts is not None and keep_facts_at(warehouse, facts)
    try:
        _look_at(warehouse, folder, spec, restart)
    except BaseException:
        if is_new:
            keep_facts_here(warehouse)
        raise
    with run_held(warehouse, spec.run_id):
        _materialize(warehouse, spec, restart, workers)
    print_summary(warehouse, spec.run_id, time.monotonic() - began)


def _look_at(warehouse: Warehouse, folder: RunFolder, spec: RunSpec, restart: bool) -> None:
    """Refuse what can be refused before anything is written; say what will be measured."""
    from selfrepair.dagster_project.instance import refuse_unreadable_history

    if warehouse.is_made:
        warehouse.prepare()  # whether it can be written to; one that is not there is made later
    refuse_unreadable_history(warehouse)
    goes_on = not restart and folder.exists
    if goes_on:
        folder.refuse_other(spec)
    prepared = run_spec_step.prepare(spec)
    if goes_on:
        weights = prepared.loaded.weights_sha256
        folder.refuse_other(spec, run_spec_step.fingerprint_of(prepared), weights)
    run_spec_step.refuse_full_disk(folder, prepared)
    warehouse.prepare()
    loaded = prepared.loaded
    heads = len(spec.chosen_heads(loaded.n_layers, loaded.n_heads))
    click.echo(
        f"{loaded.architecture}, {loaded.n_layers} layers of {loaded.n_heads} heads on "
        f"{loaded.device}: {heads} heads x {spec.n_sequences} sequences of "
        f"{spec.sequence_length} tokens x {', '.join(spec.ablations)}",
        err=True,
    )
    if not goes_on:
        _foretell(spec, loaded)


def _foretell(spec: RunSpec, loaded: LoadedModel) -> None:
    """What a run that begins will take; of one of seconds, only that its passes are hooked."""
    from selfrepair_assets.measurement.forecast.forecast import foretell_loaded, in_words, is_long

    forecast = foretell_loaded(spec, loaded) if is_long(spec, loaded) else None
    if loaded.hooked_because:
        longer = (
            f", which takes about {forecast.times_fast:.0f} times as long"
            if forecast and forecast.times_fast is not None
            else ""
        )
        click.echo(
            f"{loaded.hooked_because} is not known to the fast engine: one hooked pass for each "
            f"head{longer}",
            err=True,
        )
    if forecast:
        click.echo(f"the whole run takes {in_words(forecast)}", err=True)


def _materialize(warehouse: Warehouse, spec: RunSpec, restart: bool, workers: Workers) -> None:
    import dagster as dg

    from selfrepair.dagster_project.instance import (
        instance_of_command_line,
        refuse_unreadable_history,
    )
    from selfrepair_assets.assets.materialized import ASSETS, CHECKS
    from selfrepair_assets.assets.parts import told_of_parts
    from selfrepair_assets.assets.resources import WarehouseResource, models
    from selfrepair_assets.assets.run_spec import launchpad_config

    def summary(folder: RunFolder) -> None:
        print_summary(folder.warehouse, folder.run_id)

    with instance_of_command_line(warehouse) as instance, told_of_parts(summary):
        is_new = False
        try:
            free_slots_of_dead_runs(instance)
            warn_if_busy(instance, lambda line: click.echo(line, err=True))
            is_new = not instance.has_dynamic_partition(str(models.name), spec.run_id)
            instance.add_dynamic_partitions(str(models.name), [spec.run_id])
            dg.materialize(
                [*ASSETS, *CHECKS],
                partition_key=spec.run_id,
                instance=instance,
                tags=tags_of_this_process(),
                resources={
                    "store": WarehouseResource(
                        root=str(warehouse.root),
                        bar=True,
                        workers=workers.number,
                        ray_address=workers.ray_address,
                    )
                },
                run_config={
                    "ops": {"run_spec": {"config": launchpad_config(spec, restart)}},
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
            )
        except dg.DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None
        except Exception as error:
            if is_new and not RunFolder(warehouse, spec.run_id).exists:
                instance.delete_dynamic_partition(str(models.name), spec.run_id)
            told = _one_line_cause(error) or _failed_checks(warehouse, spec.run_id, error)
            if told is None:
                refuse_full_disk(warehouse.root)
                refuse_unreadable_history(warehouse, thorough=True)  # it may be why
            raise told or error from None


def _failed_checks(warehouse: Warehouse, run_id: str, error: Exception) -> Exception | None:
    """The one clear line where a blocking check is what ended the Dagster run."""
    from selfrepair.dagster_project.unexported import is_failed_check

    if not is_failed_check(error):
        return None
    line = failed_checks(RunFolder(warehouse, run_id))
    return WarehouseError(line) if line else None


def _one_line_cause(error: BaseException) -> Exception | None:
    """The error told in one line that is the cause of a failed Dagster run, if there is one."""
    cause: Any = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:  # contexts may go in a circle
        seen.add(id(cause))
        if isinstance(cause, OneLineError):
            return cause
        if any(words in str(cause) for words in DISK_IS_FULL):  # of Dagster's history, too
            return WarehouseError(ADVICE[errno.ENOSPC])
        cause = cause.__cause__ or cause.__context__
    return None


def _quiet() -> None:
    """Libraries' notices are for logs; what a user must know is printed by us."""
    for name in ("transformers", "transformer_lens", "datasets", "httpx", "dagster"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("selfrepair_assets", "selfrepair"):
        ours = logging.getLogger(name)
        ours.setLevel(logging.INFO)
        if not ours.handlers:  # a notebook measures more than once
            ours.addHandler(logging.StreamHandler())
    # Dagster ends its event loop, which it cannot where another one runs, as in a notebook. It
    # swallows the error, but Python tells of what was not awaited.
    warnings.filterwarnings(
        "ignore", "coroutine 'BaseEventLoop.shutdown_asyncgens'", RuntimeWarning
    )

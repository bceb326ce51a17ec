"""What the assets share: the partition of models, the warehouse, and how progress is shown."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field, PrivateAttr

from selfrepair.errors import OneLineError
from selfrepair.warehouse.locks import run_held
from selfrepair.warehouse.object_store import FACTS, keep_facts_at
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.progress import Work
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.step import Executor
from selfrepair_assets.steps.workers.deployment import ADDRESS, NUMBER, Workers

models = dg.DynamicPartitionsDefinition(name="model")
"""One partition per run: a model as given, with `@revision` if it is not the default one."""

_work: dict[tuple[str, str], Work] = {}


class WarehouseResource(dg.ConfigurableResource):
    """The warehouse, who measures, and whether progress is a bar or lines of the log."""

    root: str | None = None
    bar: bool = False
    workers: int | None = Field(default=None, description=f"Workers that measure; else ${NUMBER}.")
    ray_address: str | None = Field(default=None, description=f"Of a Ray cluster; else ${ADDRESS}.")

    _held: ExitStack = PrivateAttr(default_factory=ExitStack)
    _hired: ExitStack = PrivateAttr(default_factory=ExitStack)
    _executor: Executor | None = PrivateAttr(None)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Any]:
        """Holds the run (the partition) while this process works on it.

        Another command that measures, restarts or deletes it is refused meanwhile, and so is this
        one where another holds it. Steps of one Dagster run in several processes share it. Where
        there is no warehouse yet, the run is held from the moment when it is started.
        """
        with self._held, self._hired:
            if address := os.environ.get(FACTS):
                with mistakes_are_not_retried():
                    keep_facts_at(self.warehouse, address)
            if context.run and "dagster/partition" in context.run.tags and self.warehouse.is_made:
                self.hold(context.run)
            yield self

    def hold(self, run: dg.DagsterRun) -> None:
        """Holds the run until this process is done with it; dg.Failure where another does."""
        with mistakes_are_not_retried():
            note = f"Dagster run {run.run_id}"
            self._held.enter_context(run_held(self.warehouse, run.tags["dagster/partition"], note))

    def executor(self, folder: RunFolder) -> Executor:
        """Who measures the run's shards: the same ones from step to step."""
        if self._executor is None:
            workers = Workers.of_deployment(self.workers, self.ray_address)
            self._executor = self._hired.enter_context(workers.executor(folder.spec.device))
        return self._executor

    def dismiss_workers(self) -> None:
        """Let go of the workers, and of the models that they hold."""
        self._executor = None
        self._hired.close()

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(self.root)

    def folder(self, context: Any) -> RunFolder:
        """The folder of the run that is this partition (checks know it from the tags only)."""
        return RunFolder(self.warehouse, context.run.tags["dagster/partition"])

    def work(self, context: Any, title: str, unit: str, total: int, done: int = 0) -> Work:
        """The run's work of that title; asked for again in this process, the one that goes on."""
        key = (context.run_id, title)
        if key not in _work:
            _work[key] = Work(title, unit, total, done, None if self.bar else context.log.info)
        return _work[key]

    def close_work(self, context: Any) -> None:
        for key in [key for key in _work if key[0] == context.run_id]:
            _work.pop(key).close()


def split_run_id(run_id: str) -> tuple[str, str | None]:
    """A partition's name as model and revision; a folder may have an `@` in its path."""
    model, at, revision = run_id.rpartition("@")
    if not at or Path(run_id).exists():
        return run_id, None
    return model, revision


@contextmanager
def mistakes_are_not_retried() -> Any:
    """An error that is told in one line ends the run with it; trying again cannot help."""
    try:
        yield
    except OneLineError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


@contextmanager
def hiccups_are_retried(times: int = 2, seconds: int = 5) -> Any:
    """What is no user's mistake may be gone the next time: the step is tried again.

    Not with `dg.RetryPolicy`: that one also takes up again a step whose run was cancelled.
    """
    try:
        with mistakes_are_not_retried():
            yield
    except dg.Failure:
        raise
    except Exception as error:  # a cancelled run is none: DagsterExecutionInterruptedError
        raise dg.RetryRequested(max_retries=times, seconds_to_wait=seconds) from error

"""`selfrepair.measure`: what the command `selfrepair run` does, from Python."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selfrepair.dagster_project.cli.run import run_model
from selfrepair.library.opened import OpenWarehouse
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.steps.run_spec import forget_model


def measure(
    model: str | Path,
    warehouse: str | Path | None = None,
    *,
    restart: bool = False,
    **options: Any,
) -> OpenWarehouse:
    """Measures a model, publishes it, and opens the warehouse that has it.

    model: a hub id, a folder as `save_pretrained` writes it, or "smollm2-135m-instruct".
    warehouse: its folder; default $SELFREPAIR_WAREHOUSE, else ./warehouse/data.
    restart: measure anew where the warehouse holds the run with other settings.
    options: those of `selfrepair run`, such as corpus="pile", tokens=100_000,
        ablations=("resample", "mean"); `help(selfrepair_assets.measurement.run_spec.RunSpec)`.

    The same call goes on where an interrupted one stopped. Raises OneLineError, before anything is
    written where that can be known.
    """
    made = Warehouse(warehouse)
    try:
        with _sigterm_as_it_was():
            run_model(made, RunSpec(model=str(model), **options), restart=restart)
    finally:
        forget_model()  # a later call may find another model in the same folder
    return OpenWarehouse(made)


@contextmanager
def _sigterm_as_it_was() -> Iterator[None]:
    """Dagster leaves SIGTERM to SIGINT's handler, but the process is the caller's."""
    if threading.current_thread() is not threading.main_thread():  # there it changes none
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)

"""Where Dagster keeps its history: inside the warehouse, for the web UI and the CLI alike.

`python -m dagster_project.instance` starts the web UI over the default warehouse.
"""

from __future__ import annotations

import os
import sys
from importlib.resources import files
from pathlib import Path

import dagster as dg
from dagster._core.instance import InstanceRef

from warehouse.paths import Warehouse, written_whole


def dagster_home(warehouse: Warehouse) -> Path:
    """`<warehouse>/dagster`, made with the project's settings where it is not there yet."""
    home = warehouse.prepare().root / "dagster"
    home.mkdir(exist_ok=True)
    if not (home / "dagster.yaml").exists():
        settings = (files("dagster_project") / "dagster.yaml").read_bytes()
        with written_whole(home / "dagster.yaml") as path:  # half of it would be other settings
            path.write_bytes(settings)
    return home


def instance_of_command_line(warehouse: Warehouse) -> dg.DagsterInstance:
    """Dagster's history for a run in this process, without capturing what is printed.

    Capturing would put a file in the place of stderr, so that no progress bar is drawn on it, and
    start helper processes, which print tracebacks where Ctrl-C stops the command.
    """
    captures_nothing = {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
    home = str(dagster_home(warehouse))
    ref = InstanceRef.from_dir(home, overrides={"compute_logs": captures_nothing})
    return dg.DagsterInstance.from_ref(ref)


def serve(arguments: list[str]) -> None:
    """Become `dg dev` over the warehouse; further arguments are its own (`--port 3001`)."""
    warehouse = Warehouse()
    os.environ["DAGSTER_HOME"] = str(dagster_home(warehouse))
    os.environ["SELFREPAIR_WAREHOUSE"] = str(warehouse.root)
    command = str(Path(sys.executable).with_name("dg"))
    os.execv(command, [command, "dev", *arguments])


if __name__ == "__main__":
    serve(sys.argv[1:])

"""`selfrepair demo`, `app`, `sql` and `dagster`: from an installed package as from a checkout.

The last three become another program, which is given the warehouse; the arguments that are not
this command's own are passed on to it.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import click

from selfrepair import extras
from selfrepair.dagster_project.cli.place import WAREHOUSE
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.sql_parsing import literal

DEMO_TOKENS = 2048
PASSES_ON = {"ignore_unknown_options": True}
Arguments = tuple[str, ...]


@click.command()
@click.option(
    "--tokens",
    type=int,
    default=DEMO_TOKENS,
    show_default=True,
    help="Tokens of Python's own documentation to measure on.",
)
@WAREHOUSE
def demo(root: str, tokens: int) -> None:
    """Measure the bundled model: no hub, no account, no GPU; some minutes."""
    from selfrepair.dagster_project.cli.run import run_model
    from selfrepair_assets.measurement.model import bundled
    from selfrepair_assets.measurement.run_spec import RunSpec

    bundled.gguf_file()  # where it is not installed, that says how
    run_model(Warehouse(root), RunSpec(model=bundled.NAME, tokens=tokens))


@click.command(context_settings=PASSES_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[STREAMLIT OPTIONS]...")
@WAREHOUSE
def app(root: str, arguments: Arguments) -> None:
    """Look in a browser: figures, heads, tokens, neurons, SQL.

    Streamlit serves it on http://localhost:8501; its options are passed on, such as
    --server.port 8502.
    """
    extras.require("app", "the app")
    script = str(files("selfrepair.app") / "main.py")
    _become([sys.executable, "-m", "streamlit", "run", script, *arguments], Warehouse(root))


@click.command(context_settings=PASSES_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[DUCKDB OPTIONS]...")
@WAREHOUSE
def sql(root: str, arguments: Arguments) -> None:
    """Ask at a DuckDB prompt over what is published, read-only: show tables.

    DuckDB's options are passed on, such as -c "from runs" or -json.
    """
    from selfrepair.warehouse.published.generations import outside_of
    from selfrepair.warehouse.published.outside import refuse_others
    from selfrepair.warehouse.published.read import current_generation

    warehouse = Warehouse(root)
    if current_generation(warehouse) is None:
        raise WarehouseError(
            f"nothing is published in {warehouse.root} yet: run `selfrepair run MODEL` first"
        )
    refuse_others(warehouse, outside_of(warehouse.serving.resolve()))
    outside = f"set file_search_path = {literal(warehouse.root)}"
    _become(
        [_beside("duckdb"), "-cmd", outside, *arguments, "-readonly", str(warehouse.serving)],
        warehouse,
    )


@click.command(context_settings=PASSES_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[DAGSTER OPTIONS]...")
@WAREHOUSE
def dagster(root: str, arguments: Arguments) -> None:
    """Measure in the Dagster UI: add a model as a partition and materialize it.

    Dagster serves it on http://localhost:3000; the options of `dagster dev` are passed on, such
    as --port 3001.
    """
    extras.require("dagster", "the Dagster UI")
    from selfrepair.dagster_project.instance import make_history

    warehouse = Warehouse(root)
    os.environ["DAGSTER_HOME"] = str(make_history(warehouse))
    workspace = str(files("selfrepair.dagster_project") / "workspace.yaml")
    _become([sys.executable, "-m", "dagster", "dev", "-w", workspace, *arguments], warehouse)


def _become(command: list[str], warehouse: Warehouse) -> None:
    """Replaces this process by a program that is told which warehouse is meant."""
    os.environ["SELFREPAIR_WAREHOUSE"] = str(warehouse.root)
    os.execv(command[0], command)


def _beside(program: str) -> str:
    """A program that a package brought, beside this Python or on the path."""
    own = Path(sys.executable).with_name(program)
    found = str(own) if own.is_file() else shutil.which(program)
    if found is None:
        raise WarehouseError(f"the program {program} is not installed: pip install duckdb-cli")
    return found

"""Where Dagster keeps its history: inside the warehouse, for the web UI and the CLI alike."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from selfrepair.warehouse.errors import WarehouseError, one_clear_line, refuse_full_disk
from selfrepair.warehouse.facts.plan import Plan, all_plans
from selfrepair.warehouse.locks import held, is_held
from selfrepair.warehouse.paths import TEMPORARY, Warehouse, written_whole
from selfrepair.warehouse.published.runs import known_runs
from selfrepair.warehouse.sealed import set_aside

if TYPE_CHECKING:  # seconds to import, and `selfrepair doctor` only asks whether it can be read
    import dagster as dg


def dagster_home(warehouse: Warehouse) -> Path:
    """`<warehouse>/dagster`, made with the project's settings where it is not there yet."""
    home = _home(warehouse.prepare())
    home.mkdir(exist_ok=True)
    _write_settings(home)
    return home


def _write_settings(home: Path) -> None:
    if not (home / "dagster.yaml").exists():
        settings = (files("selfrepair.dagster_project") / "dagster.yaml").read_bytes()
        with written_whole(home / "dagster.yaml") as path:  # half of it would be other settings
            path.write_bytes(settings)


@contextmanager
def instance_of_command_line(warehouse: Warehouse) -> Iterator[dg.DagsterInstance]:
    """Dagster's history for a run in this process, without capturing what is printed.

    Capturing would put a file in the place of stderr, so that no progress bar is drawn on it, and
    start helper processes, which print tracebacks where Ctrl-C stops the command.

    Raises WarehouseError where the history cannot be read.
    """
    from selfrepair.dagster_project.unexported import instance_that_captures_nothing

    pool = logging.getLogger("sqlalchemy.pool")
    before = pool.level
    pool.setLevel(logging.CRITICAL)  # Ctrl-C while it closes a connection prints a traceback there
    try:
        with instance_that_captures_nothing(make_history(warehouse)) as instance:
            yield instance
    finally:
        pool.setLevel(before)


def make_history(warehouse: Warehouse) -> Path:
    """Makes Dagster's databases where they are not there yet, by one process at a time.

    Two that make them at once stamp each database twice, which Dagster then refuses for good. A new
    history knows the runs of the warehouse as partitions.

    Raises WarehouseError where there is one that cannot be read.
    """
    warehouse.prepare()
    busy = "Dagster's history is being made by another command ({holder}): repeat this one"
    with held(warehouse.root / "dagster.lock", busy, waiting=lambda: None):
        refuse_unreadable_history(warehouse)
        home, there = _home(warehouse), [path.exists() for path in _databases(warehouse)]
        if not any(there):
            _make_whole(warehouse, home)
        elif not all(there):
            _fill(warehouse, dagster_home(warehouse))
    return home


def _make_whole(warehouse: Warehouse, home: Path) -> None:
    """Makes the history under a temporary name: killed, or on a full disk, there is none yet."""
    for leftover in warehouse.root.glob(f"{home.name}{TEMPORARY}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = warehouse.root / f"{home.name}{TEMPORARY}{secrets.token_hex(4)}"
    with one_clear_line("make Dagster's history"):
        try:
            if home.exists():  # settings that somebody has changed, but nothing that has happened
                shutil.copytree(home, temporary)
            temporary.mkdir(exist_ok=True)
            _write_settings(temporary)
            _fill(warehouse, temporary)
            if home.exists():
                shutil.rmtree(home)
            os.rename(temporary, home)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _fill(warehouse: Warehouse, home: Path) -> None:
    """Makes the databases that are missing, and adds the warehouse's runs as partitions."""
    import dagster as dg

    from selfrepair_assets.assets.resources import models

    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs_count()  # each storage is made when it is asked first
        instance.event_log_storage.get_concurrency_keys()
        instance.all_instigator_state()
        begun = {plan.run_id for plan in all_plans(warehouse) if isinstance(plan, Plan)}
        runs = sorted(begun | set(known_runs(warehouse)))
        instance.add_dynamic_partitions(str(models.name), runs)


def history_problem(warehouse: Warehouse, *, thorough: bool = False) -> str | None:
    """What keeps Dagster's history from being read; None where it can be, or there is none yet.

    thorough: also looks into the log of each past run.
    """
    home = _home(warehouse)
    try:
        if not home.exists():
            return None
        if not home.is_dir():
            return f"{home} is not a folder"
        settings = home / "dagster.yaml"
        text = settings.read_text(encoding="utf-8") if settings.exists() else "{}"
        if not isinstance(yaml.safe_load(text), dict):
            return f"{settings}: holds no settings"
        for folder in (home / "history", home / "history" / "runs", home / "schedules"):
            if folder.exists() and not folder.is_dir():
                return f"{folder}: is not a folder"
        paths = _databases(warehouse)
        if thorough:
            paths += sorted((home / "history" / "runs").glob("*.db"))
        for path in dict.fromkeys(paths):
            what = _unreadable(path) if path.exists() else None
            if what:
                return f"{path}: {what}"
    except (OSError, ValueError, yaml.YAMLError) as error:
        return f"{home}: {str(error).splitlines()[0]}"
    return None


def refuse_unreadable_history(warehouse: Warehouse, *, thorough: bool = False) -> None:
    """Raises WarehouseError where Dagster's history cannot be read."""
    problem = history_problem(warehouse, thorough=thorough)
    if problem:
        refuse_full_disk(warehouse.root)  # on a full one, SQLite cannot read either
        raise WarehouseError(
            f"Dagster's history cannot be read ({problem}): nothing measured or published is lost, "
            "only the log of past runs. `selfrepair doctor --repair` moves it away, and the next "
            "command makes a new one"
        )


def move_history_away(warehouse: Warehouse) -> Path:
    """Gives the history a name that says that it is damaged; the next command makes a new one."""
    home = _home(warehouse)
    busy = "Dagster's history is being made by another command ({holder}): repeat this one"
    with held(warehouse.root / "dagster.lock", busy, waiting=lambda: None):
        for lock in (warehouse.root / "runs").glob(".*.lock"):
            if is_held(lock):
                raise WarehouseError(
                    f"a run is at work, whose history this is ({lock}): wait until it is done"
                )
        return set_aside(home)


def _home(warehouse: Warehouse) -> Path:
    return warehouse.root / "dagster"


def _databases(warehouse: Warehouse) -> list[Path]:
    """What Dagster keeps for all runs together; each run has a file of its own besides."""
    home = _home(warehouse)
    return [
        home / "history" / "runs.db",
        home / "history" / "runs" / "index.db",
        home / "schedules" / "schedules.db",
    ]


def _unreadable(path: Path) -> str | None:
    """What is wrong with a database; reading it may roll back what a killed writer had begun."""
    if not path.is_file():
        return "is not a file"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=60)) as database:
            (said,) = database.execute("pragma quick_check(1)").fetchone()
            if said != "ok":
                return str(said).splitlines()[0]
            heads = database.execute("select count(*) from alembic_version").fetchone()[0]
            return None if heads == 1 else f"{heads} versions are stamped on it, not one"
    except sqlite3.Error as error:
        # On a disk that is mounted read-only it cannot be asked, which is no damage.
        return None if "readonly database" in str(error) else str(error)

"""`selfrepair doctor`: what a run needs here, and what of the warehouse is damaged."""

from __future__ import annotations

import sys
from contextlib import closing

import click

from selfrepair.dagster_project.cli.command import command_for
from selfrepair.dagster_project.instance import history_problem, move_history_away
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.repair import Trouble, n_files, set_aside_before, troubles
from selfrepair_assets.measurement.forecast.doctor import diagnose
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.progress import Work

MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def print_findings(warehouse: Warehouse, spec: RunSpec | None, *, repair: bool) -> int:
    """One line a finding, and what to do beneath it; returns the exit code.

    spec: of the run that is thought of, if there is one.
    repair: also does what can be done without measuring, and says what it did.
    """
    findings = diagnose(warehouse.root, spec)
    for finding in findings:
        _line(finding.status, f"{finding.name}: {finding.what}")
        if finding.what_to_do and finding.status != "ok":
            click.echo(f"    {finding.what_to_do}")
    problems = sum(finding.status == "fail" for finding in findings)
    problems += _look_through(warehouse, repair)
    click.echo(f"\n{problems} problem(s)" if problems else "\nA run has what it needs.")
    return 1 if problems else 0


def _look_through(warehouse: Warehouse, repair: bool) -> int:
    """Says what of the warehouse is damaged, and mends it where asked; returns what is left."""
    if not warehouse.is_made:
        return 0
    found = _troubles(warehouse)
    if not found:
        _line("ok", "contents: all that was written is as it was written")
    left = 0
    for trouble in found:
        mended = repair and _mended(trouble)
        left += not mended or trouble.run_id is not None
        _line("ok" if mended else "fail", trouble.what)
        if mended:
            click.echo(f"    repaired: {trouble.way_out}")
        elif trouble.mend:
            click.echo(f"    selfrepair doctor --repair {trouble.way_out}")
        else:
            click.echo(f"    {trouble.way_out}")
    for run_id in sorted({trouble.run_id for trouble in found if trouble.run_id}):
        click.echo(f"    to be measured again: {command_for(warehouse, run_id)}")
    aside = set_aside_before(warehouse)
    if aside:
        _line("warn", f"{len(aside)} damaged file(s) are set aside, the first: {aside[0]}")
        click.echo("    Nobody reads them: remove them when you do not need them any more.")
    return left


def _troubles(warehouse: Warehouse) -> list[Trouble]:
    work = Work("looking through the warehouse", "files", n_files(warehouse))
    if not sys.stderr.isatty():  # a bar, or nothing
        work.tell = lambda _line: None
    with closing(work):
        found = list(troubles(warehouse, lambda _path: work.add(1)))
    history = history_problem(warehouse, thorough=True)
    if history:
        found.append(
            Trouble(
                history,
                "moves it away; a new one is made when it is needed",
                mend=lambda: move_history_away(warehouse),
            )
        )
    return found


def _mended(trouble: Trouble) -> bool:
    if trouble.mend is None:
        return False
    try:
        trouble.mend()
    except WarehouseError as error:
        click.echo(f"    not repaired: {error}")
        return False
    return True


def _line(status: str, text: str) -> None:
    mark, colour = MARKS[status]
    click.echo(f"{click.style(mark, fg=colour)} {text}")

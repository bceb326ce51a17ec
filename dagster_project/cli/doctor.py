"""`selfrepair doctor`: print what `measurement.doctor` finds."""

from __future__ import annotations

import click

from selfrepair_assets.measurement.doctor import diagnose
from warehouse.paths import Warehouse

MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


def print_findings(warehouse: Warehouse, model: str | None) -> int:
    """One line a finding, and what to do beneath it; returns the exit code."""
    findings = diagnose(warehouse.root, model)
    for finding in findings:
        mark, colour = MARKS[finding.status]
        click.echo(f"{click.style(mark, fg=colour)} {finding.name}: {finding.what}")
        if finding.what_to_do and finding.status != "ok":
            click.echo(f"    {finding.what_to_do}")
    failed = [finding for finding in findings if finding.status == "fail"]
    click.echo(f"\n{len(failed)} problem(s)" if failed else "\nA run has what it needs.")
    return 1 if failed else 0

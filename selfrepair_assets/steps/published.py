"""The last steps of a run: its facts are checked and published."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.checks import CheckResult, run_checks
from selfrepair.warehouse.facts.run_facts import measured_tables, restore_manifests
from selfrepair.warehouse.facts.shards import MEASURE_AGAIN, range_of
from selfrepair.warehouse.facts.tables import facts_read
from selfrepair.warehouse.published.publish import Generation, publish
from selfrepair.warehouse.sql_files import relations
from selfrepair_assets.steps.ablating import run_facts
from selfrepair_assets.steps.precision import layer_precision, superseded
from selfrepair_assets.steps.sharded.run_folder import RunFolder

logger = logging.getLogger(__name__)
ROWS_KEPT = 3
"""Offending rows of a failed check that are kept for whoever asks why nothing is published."""


def check(
    folder: RunFolder, only: Iterable[str] | None = None, part: int | None = None
) -> list[CheckResult]:
    """Run the checks (`only` these) over the run's shards; keep the outcome for `publish_run`."""
    part = folder.stopped_at if part is None else part
    results = run_checks(folder.warehouse, run_row(folder, part), only)
    outcomes = {
        result.name: {
            "of": _what_it_is_of(folder, result.name, part),
            "passed": result.passed,
            "rows": result.rows[:ROWS_KEPT],
        }
        for result in results
    }
    folder.note("checks", (folder.noted("checks") or {}) | outcomes)
    return results


def publish_run(
    folder: RunFolder,
    keep_shards: bool = True,
    progress: Callable[[float, str], None] | None = None,
    part: int | None = None,
    one_file: bool = False,
) -> Generation:
    """Publish a run whose facts pass every check; those that were not checked yet are checked now.

    Args:
        part: how many of its first sequences are published (`steps/parts.py`); None: the whole run,
            or what is measured of one that was stopped.
        one_file: all of its rows go into the published file, however large it is.

    Raises:
        WarehouseError: a check fails, or a shard is damaged (DamagedError); what is served stays as
            it was.
    """
    part = folder.stopped_at if part is None else part
    if part is None and superseded(folder):
        raise WarehouseError(
            f"{folder.run_id} is not measured to the end: a layer has left "
            f"{folder.spec.precision}, and not all of its shards were measured anew: "
            f"{MEASURE_AGAIN}"
        )
    for line in restore_manifests(folder.warehouse, folder.run_id) if part is None else []:
        logger.warning(line)
    names = [found.name for found in relations() if found.kind == "check"]
    noted = folder.noted("checks") or {}
    unknown = [n for n in names if noted.get(n, {}).get("of") != _what_it_is_of(folder, n, part)]
    if unknown:
        for table in measured_tables(folder.warehouse, folder.run_id, part):
            table.verify()
        check(folder, unknown, part)
        noted = folder.noted("checks") or {}
    broken = failed_checks(folder)
    if broken:
        raise WarehouseError(broken)
    if part is None and folder.noted("finished") is None:
        folder.note("finished", {"at": datetime.now(UTC).isoformat()})
    row = run_row(folder, part)
    return publish(folder.warehouse, row, keep_shards, progress, one_file=one_file)


def run_row(folder: RunFolder, part: int | None = None) -> dict[str, Any]:
    """The run's row of the table `runs`, or that of its first sequences, so many."""
    measured = folder.spec.n_sequences if part is None else part
    spec, model = folder.spec, folder.model
    precision = layer_precision(folder)
    finished = folder.noted("finished") or {"at": datetime.now(UTC).isoformat()}
    return {
        **run_facts(folder),
        "model": spec.model,
        "revision": spec.revision or model["commit"],
        # Runs of older versions have none of these.
        **{
            name: model.get(name)
            for name in ("weights_sha256", "post_norm", "final_cap", "logit_scale")
        },
        **{
            name: model[name]
            for name in (
                "architecture", "normalization", "d_model",
                "d_mlp", "d_vocab", "engine", "device", "versions",
            )
        },
        "corpus": spec.corpus,
        "sequence_length": spec.sequence_length,
        "n_sequences": spec.n_sequences,
        "n_sequences_measured": measured,
        "stopped_by": f"--until {spec.until}" if measured == folder.stopped_at else None,
        "n_tokens": measured * (spec.sequence_length - 1),
        "sample": spec.sample,
        "drawn_from": folder.drawn_from,
        "ablations": list(spec.ablations),
        "precision": spec.precision,
        "layer_precision": precision.layers,
        "precision_error": precision.errors if precision.tag else None,
        "seed": spec.seed,
        "center_unembed": spec.center_unembed,
        "options": spec.as_typed(),
        "started_at": datetime.fromisoformat(model["started_at"]),
        "finished_at": datetime.fromisoformat(finished["at"]),
    }  # fmt: skip


def failed_checks(folder: RunFolder) -> str | None:
    """The line that says which checks a run fails, at which rows of which file; None for none."""
    noted = folder.noted("checks") or {}
    failed = [found.name for found in relations() if not noted.get(found.name, _PASSED)["passed"]]
    if not failed:
        return None
    rows = noted[failed[0]]["rows"]
    where = "; ".join(", ".join(f"{name} {row[name]}" for name in row) for row in rows)
    return (
        f"'{folder.run_id}' is not published: {len(failed)} check(s) fail, first {failed[0]}, at "
        f"{where}{_file_of(folder, failed[0], rows[0])}. What was published stays. Measure the run "
        "anew with --restart; if it fails again, this model is measured wrongly: please report it"
    )


_PASSED = {"passed": True}


def _file_of(folder: RunFolder, check: str, row: Mapping[str, Any]) -> str:
    """The shard with a row that breaks a check, where the row says in which sequence it is."""
    for table in ("head_ablations", *sorted(facts_read(check))):
        if table not in facts_read(check) or "sequence" not in row:
            continue
        for path in folder.table(table).files():
            start, stop = range_of(path.name)
            if start <= int(row["sequence"]) < stop:
                return f" (in {path})"
    return ""


def _what_it_is_of(folder: RunFolder, check: str, part: int | None) -> str:
    """One hash of a check's SQL and of the facts that it reads: its outcome is of no others."""
    body = next(found.body for found in relations() if found.name == check)
    tables = sorted(facts_read(check))
    if part is None:
        manifests = [folder.table(table).manifest() for table in tables]
    else:
        there = measured_tables(folder.warehouse, folder.run_id, part)
        manifests = [found.complete_manifest() for found in there if found.table in tables]
    text = json.dumps([body, part, manifests], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()

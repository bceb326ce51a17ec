"""Asset checks: each file of `sql/checks/` over the run's shards, before anything is published."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from selfrepair_assets import steps
from selfrepair_assets.assets.resources import WarehouseResource, mistakes_are_not_retried
from warehouse.sql_files import relations

CHECKS = {found.name: found for found in relations() if found.kind == "check"}
"""They are shown at `head_ablations`, the last of the facts that they read, and stop publishing."""


@dg.multi_asset_check(
    specs=[
        dg.AssetCheckSpec(name, asset="head_ablations", blocking=True, description=check.comment)
        for name, check in CHECKS.items()
    ],
    pool="publish",
)
def checks(
    context: dg.AssetCheckExecutionContext, store: WarehouseResource
) -> Iterator[dg.AssetCheckResult]:
    """A failed check stops publishing; its metadata names the offending rows."""
    folder = store.folder(context)
    with mistakes_are_not_retried():
        results = steps.check(folder)
    for result in results:
        metadata: dict[str, Any] = {
            "must_hold": result.must_hold,
            "offending_rows": result.n_offending,
            "seconds": result.seconds,
        }
        if result.rows:
            metadata["first_offending_rows"] = dg.MetadataValue.md(_table(result.rows))
        yield dg.AssetCheckResult(
            asset_key="head_ablations",
            check_name=result.name,
            passed=result.passed,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata=metadata,
        )


def _table(rows: list[dict[str, object]]) -> str:
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([str(row[n]) for n in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

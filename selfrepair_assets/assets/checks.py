"""Asset checks: each file of `sql/checks/` over the run's shards, before anything is published."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from selfrepair.warehouse.facts.tables import CLOSER_LOOKS, facts_read
from selfrepair.warehouse.sql_files import relations
from selfrepair_assets.assets.metadata import describe
from selfrepair_assets.assets.resources import WarehouseResource, mistakes_are_not_retried
from selfrepair_assets.steps.published import check


def shown_at(check: str) -> str:
    """The asset whose check it is: the last one of those that it reads."""
    read = facts_read(check)
    return next((table for table in CLOSER_LOOKS if table in read), "head_ablations")


CHECKS = {found.name: shown_at(found.name) for found in relations() if found.kind == "check"}


def _specs(*assets: str) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(
            name,
            asset=asset,
            additional_deps=sorted(
                facts_read(name) & set(CLOSER_LOOKS) - {asset, "head_ablations"}
            ),
            blocking=True,
            description=describe(name),
        )
        for name, asset in CHECKS.items()
        if asset in assets
    ]


@dg.multi_asset_check(specs=_specs("head_ablations"), pool="publish")
def checks(
    context: dg.AssetCheckExecutionContext, store: WarehouseResource
) -> Iterator[dg.AssetCheckResult]:
    """A failed check stops publishing; its metadata names the offending rows."""
    yield from _checked(context, store)


@dg.multi_asset_check(specs=_specs(*CLOSER_LOOKS), pool="publish")
def checks_of_closer_looks(
    context: dg.AssetCheckExecutionContext, store: WarehouseResource
) -> Iterator[dg.AssetCheckResult]:
    """The checks that read what is measured after `head_ablations`."""
    yield from _checked(context, store)


def _checked(
    context: dg.AssetCheckExecutionContext, store: WarehouseResource
) -> Iterator[dg.AssetCheckResult]:
    with mistakes_are_not_retried():
        names = [key.name for key in context.selected_asset_check_keys]
        results = check(store.folder(context), names)
    for result in results:
        metadata: dict[str, Any] = {
            "must_hold": result.must_hold,
            "offending_rows": result.n_offending,
            "seconds": result.seconds,
        }
        if result.rows:
            metadata["first_offending_rows"] = dg.MetadataValue.md(_table(result.rows))
        yield dg.AssetCheckResult(
            asset_key=CHECKS[result.name],
            check_name=result.name,
            passed=result.passed,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata=metadata,
        )


def _table(rows: list[dict[str, object]]) -> str:
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([str(row[n]) for n in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)

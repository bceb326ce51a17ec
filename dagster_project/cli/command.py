"""The command that measures a run, for messages that tell a user what to type."""

from __future__ import annotations

import shlex

from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.plan import require_plan
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.run_spec import OPTIONS, RunSpec


def command_for(warehouse: Warehouse, run_id: str) -> str:
    """The command that began a run; its beginning, where the run's options cannot be read."""
    try:
        return command_of(RunSpec.from_json(require_plan(warehouse, run_id).about["spec"]))
    except (WarehouseError, ValueError, TypeError, KeyError):
        return f"{shlex.join(['selfrepair', 'run', run_id])}, with the options that began it"


def command_of(spec: RunSpec) -> str:
    """`selfrepair run …` with the options that are not the default ones."""
    words = ["selfrepair", "run", spec.model]
    for name, found in OPTIONS.items():
        value = getattr(spec, name)
        if found.is_argument or value == found.default:
            continue
        if isinstance(value, bool):
            words.append(found.flag if value else found.flag.replace("--", "--no-", 1))
        else:
            words += [found.flag, str(found.typed(value))]
    return shlex.join(words)

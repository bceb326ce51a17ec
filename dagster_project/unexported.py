"""What is used of Dagster that it does not export; tried with Dagster 1.13.27.

Nothing else may import from `dagster._core`: when a new version moves something, it is mended here.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError
from dagster._core.instance import InstanceRef

CAPTURES_NOTHING = {
    "module": "dagster._core.storage.noop_compute_log_manager",
    "class": "NoOpComputeLogManager",
}


def instance_that_captures_nothing(home: Path) -> dg.DagsterInstance:
    """The instance of a folder's settings, but for `compute_logs`: what is printed stays as it is.

    `dg.DagsterInstance.from_config` takes a folder's settings as they are, and nothing besides.
    """
    ref = InstanceRef.from_dir(str(home), overrides={"compute_logs": CAPTURES_NOTHING})
    return dg.DagsterInstance.from_ref(ref)


def is_failed_check(error: BaseException) -> bool:
    """Whether a blocking asset check is what ended a Dagster run."""
    return isinstance(error, DagsterAssetCheckFailedError)

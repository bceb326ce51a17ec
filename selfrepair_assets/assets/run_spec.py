"""The assets `run_spec` and `sequences`: what a run is, and the text it is measured on."""

from typing import Any

import dagster as dg
from pydantic import Field, create_model

from selfrepair_assets.assets.metadata import describe, preview_of, row_count, table_schema
from selfrepair_assets.assets.resources import (
    WarehouseResource,
    mistakes_are_not_retried,
    models,
    split_run_id,
)
from selfrepair_assets.measurement.options import Option
from selfrepair_assets.measurement.run_spec import OPTIONS, RunSpec
from selfrepair_assets.steps.head_ablations import head_tokens
from selfrepair_assets.steps.run_spec import prepare, start
from selfrepair_assets.steps.sequences import store_sequences

LAUNCHPAD = {name: found for name, found in OPTIONS.items() if found.in_launchpad}


def _field(found: Option) -> tuple[Any, Any]:
    """An option's type and field in the Launchpad, which lists no option that is null.

    What may be left to the run is therefore empty text or 0 there.
    """
    if found.is_list:
        list_type = list.__class_getitem__(found.value_type)
        return list_type, Field(list(found.default), description=found.help)
    if not found.unset:
        return found.type, Field(found.default, description=found.help)
    empty = found.value_type()
    left = f"{found.help} {'If 0' if empty == 0 else 'If empty'}: {found.unset}."
    return found.type, Field(empty, description=left)


_fields: dict[str, Any] = {name: _field(found) for name, found in LAUNCHPAD.items()}
_Options: Any = create_model("_Options", __base__=dg.Config, **_fields)


class RunSpecConfig(_Options):
    """A run's options in the Launchpad; the model is the partition."""

    restart: bool = Field(False, description="Measure anew where other settings are on disk.")

    def spec(self, run_id: str) -> RunSpec:
        choices = self.model_dump(exclude={"restart"})
        for name, found in LAUNCHPAD.items():
            if found.is_list:
                choices[name] = tuple(choices[name])
            elif found.unset:
                choices[name] = choices[name] or None
        model, revision = split_run_id(run_id)
        return RunSpec(model=model, revision=revision, **choices)


def launchpad_config(spec: RunSpec, restart: bool = False) -> dict[str, Any]:
    """The config of `run_spec` with which the Launchpad would ask for a run."""
    asked = {name: value for name, value in spec.as_json().items() if name in LAUNCHPAD}
    return asked | {"restart": restart}


@dg.asset(partitions_def=models, group_name="run", kinds={"python", "torch"})
def run_spec(
    context: dg.AssetExecutionContext, config: RunSpecConfig, store: WarehouseResource
) -> dg.MaterializeResult:
    """One run: its model, text and settings, looked at and then fixed.

    Everything that can be wrong with them is found here, before anything is written. The later
    assets read the settings from the warehouse, never from their own configuration.
    """
    folder = store.folder(context)
    with mistakes_are_not_retried():
        prepared = prepare(config.spec(context.partition_key))
        store.hold(context.run)
        start(folder, prepared, restart=config.restart)
    settings = "\n".join(f"| {k} | {v} |" for k, v in vars(folder.spec).items() if v is not None)
    model = "\n".join(f"| {k} | {v} |" for k, v in folder.model.items())
    return dg.MaterializeResult(
        metadata={
            "settings": dg.MetadataValue.md(f"| setting | value |\n| --- | --- |\n{settings}"),
            "model": dg.MetadataValue.md(f"| model | value |\n| --- | --- |\n{model}"),
            "shards": len(folder.shards),
            "head_tokens": head_tokens(folder, folder.shards),
        }
    )


@dg.asset(
    partitions_def=models,
    group_name="run",
    kinds={"parquet"},
    deps=[run_spec],
    description=describe("sequences"),
    metadata=table_schema("sequences"),
)
def sequences(context: dg.AssetExecutionContext, store: WarehouseResource) -> dg.MaterializeResult:
    folder = store.folder(context)
    with mistakes_are_not_retried():
        rows = store_sequences(folder)
    files = folder.table("sequences").files()
    return dg.MaterializeResult(metadata=row_count(rows) | {"first_rows": preview_of(files)})

"""The assets `run_spec` and `sequences`: what a run is, and the text it is measured on."""

from types import NoneType
from typing import get_args

import dagster as dg
from pydantic import Field

from selfrepair.warehouse.facts.manifest import shard_files
from selfrepair_assets.assets.metadata import describe, preview, row_count, table_schema
from selfrepair_assets.assets.resources import (
    WarehouseResource,
    mistakes_are_not_retried,
    models,
    split_run_id,
)
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.steps import ablation_steps, run_steps


class RunSpecConfig(dg.Config):
    """A run's settings in the Launchpad; the model is the partition.

    What may be left to us is empty or 0, not null: the Launchpad lists no option that is null.
    """

    corpus: str = Field(
        "python-docs",
        description="python-docs, pile, a dataset id, or a .txt, .jsonl or .parquet path",
    )
    text_column: str | None = Field("", description="The dataset's column of text; found if empty")
    tokens: int = Field(100_000, description="Tokens of text; tokens // sequence_length sequences")
    sequence_length: int = Field(128, description="Tokens of a sequence, BOS included")
    sample: str = Field("random", description="random sequences of the corpus, or its head")
    ablations: list[str] = Field(["resample"], description="Some of resample, mean, zero")
    layers: str | None = Field(
        "", description="Layers whose heads are ablated, as 8:12; all if empty"
    )
    heads: str | None = Field(
        "", description="Heads that are ablated, as L10H11,L9H3; all if empty"
    )
    precision: str = Field("fp32", description="fp32, or bf16 (fast, its error kept below 1 %)")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps")
    batch_size: int | None = Field(0, description="Sequences at once; from the memory if 0")
    shard_sequences: int | None = Field(0, description="Sequences in a shard; chosen if 0")
    seed: int = Field(0, description="Of the sample and the resample pairing")
    top_fraction: float = Field(0.02, description="Share of a head's rows that count as its top")
    center_unembed: bool = Field(True, description="Centre W_U over the vocabulary (Llama: off)")
    neuron_heads: str | None = Field("", description="Heads followed to every neuron; 4 if empty")
    reinforcement_scales: list[float] = Field([1.0, 3.0, 5.0], description="Multiples that are fed")
    reinforcement_layers: str | None = Field("", description="Layers fed; upper half if empty")
    reinforcement_sequences: int = Field(50, description="Sequences fed, as many as there are")
    reinforcement_tokens: int = Field(30, description="First tokens of these sequences")
    restart: bool = Field(False, description="Measure anew where other settings are on disk")

    def spec(self, run_id: str) -> RunSpec:
        choices = self.model_dump(exclude={"restart"})
        for name, field in type(self).model_fields.items():
            if NoneType in get_args(field.annotation):
                choices[name] = choices[name] or None
        for name in ("ablations", "reinforcement_scales"):
            choices[name] = tuple(choices[name])
        model, revision = split_run_id(run_id)
        return RunSpec(model=model, revision=revision, **choices)


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
        prepared = run_steps.prepare(config.spec(context.partition_key))
        store.hold(context.run)
        run_steps.start(folder, prepared, restart=config.restart)
    settings = "\n".join(f"| {k} | {v} |" for k, v in vars(folder.spec).items() if v is not None)
    model = "\n".join(f"| {k} | {v} |" for k, v in folder.model.items())
    return dg.MaterializeResult(
        metadata={
            "settings": dg.MetadataValue.md(f"| setting | value |\n| --- | --- |\n{settings}"),
            "model": dg.MetadataValue.md(f"| model | value |\n| --- | --- |\n{model}"),
            "shards": len(folder.shards),
            "head_tokens": ablation_steps.head_tokens(folder, folder.shards),
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
        rows = run_steps.store_sequences(folder)
    files = shard_files(folder.warehouse, "sequences", folder.run_id)
    return dg.MaterializeResult(metadata=row_count(rows) | {"first_rows": preview_of(files)})


def preview_of(files: list) -> dg.MarkdownMetadataValue:  # type: ignore[type-arg]
    """The first rows of some shards."""
    import duckdb

    with duckdb.connect() as connection:
        return preview(connection, f"select * from read_parquet('{files[0]}')")

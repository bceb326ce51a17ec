"""The steps of a run as plain functions: what the Dagster assets call.

    prepare ─► start ─► sequences ─► clean shard … ─► ablation shard … ─► publish

Each takes the run's folder, measures through `Measurer`, and writes shards; a shard that is there
is not measured again.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from selfrepair.warehouse.facts.manifest import MEASURE_AGAIN, write_manifest
from selfrepair.warehouse.facts.shards import intact_shard, write_shard
from selfrepair.warehouse.sealed import DamagedError
from selfrepair_assets.measurement.ablations import any_needs
from selfrepair_assets.measurement.engine import bf16_error
from selfrepair_assets.measurement.engine.bf16_error import LayerPrecision, Squares
from selfrepair_assets.measurement.engine.interface import AblationRequest
from selfrepair_assets.measurement.engine.measure import Measurer, Progress
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model.models import (
    LoadedModel,
    choose_device,
    forget_models,
    load_model,
    look_at_model,
)
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.measurement.text.corpus import (
    Text,
    look_at_corpus,
    token_sequences,
    token_texts,
)
from selfrepair_assets.steps.run_folder import RunFolder, Shard

CLEAN_TABLES = ("tokens", "direct_effects", "mlp_effects")
Columns = Mapping[str, Any]
"""A table's columns by name: arrays whose shapes broadcast together."""
BYTES_PER_ROW = 60
"""Of `head_ablations`: its shard, its row in the serving file, and that file's next generation."""
BYTES_AT_LEAST = 50_000_000
"""Of any run: two generations of the serving file, Dagster's history, the text."""
ENGINE_SAMPLE = 2
"""Sequences on which the engine is checked before a run is measured."""
SAMPLE = "bf16-sample"
"""The note of what bf16 costs on a sample: a hundredth of the run's sequences, so many of them."""
SAMPLE_LEAST, SAMPLE_MOST = 2, 8


@dataclass(frozen=True)
class PreparedRun:
    """A spec whose model, heads and text are known to be there."""

    spec: RunSpec
    loaded: LoadedModel
    text: Text


def load(spec: RunSpec) -> LoadedModel:
    return load_model(spec.model, spec.revision, spec.device, spec.center_unembed)


def load_for(folder: RunFolder) -> LoadedModel:
    """The model of a run that was started, with the weights that it was started with.

    Raises:
        InputError: the weights were changed meanwhile.
    """
    loaded = load(folder.spec)
    folder.refuse_other(folder.spec, weights_sha256=loaded.weights_sha256)
    return loaded


@lru_cache(maxsize=1)  # the command line looks first, then the asset run_spec does
def prepare(spec: RunSpec) -> PreparedRun:
    """Look at everything that can be wrong before anything is written.

    Raises:
        InputError: what is wrong, and what to do.
    """
    look_at(spec)
    loaded = load(spec)
    text = token_sequences(
        spec.corpus,
        loaded.tokenizer,
        n_sequences=spec.n_sequences,
        sequence_length=spec.sequence_length,
        sample=spec.sample,
        seed=spec.seed,
        text_column=spec.text_column,
        n_ctx=loaded.n_ctx,
        d_vocab=loaded.d_vocab,
    )
    return PreparedRun(spec, loaded, text)


def look_at(spec: RunSpec) -> None:
    """Look at everything that can be known before the weights are loaded.

    Raises:
        InputError: what is wrong, and what to do.
    """
    choose_device(spec.device)
    look_at_corpus(spec.corpus, spec.text_column)
    sizes = look_at_model(spec.model, spec.revision)
    spec.chosen_heads(*sizes)
    spec.chosen_neuron_heads(*sizes)
    spec.reinforced_heads(*sizes)


def forget_model() -> None:
    """Let go of the model: nothing after the measurement needs it, and publishing needs memory."""
    prepare.cache_clear()
    forget_models()


def start(folder: RunFolder, prepared: PreparedRun, *, restart: bool = False) -> None:
    """Fix the run in the warehouse, after a look at the engine's own logits and the disk."""
    spec, loaded = prepared.spec, prepared.loaded
    measurer = Measurer(loaded, spec)
    measurer.check_engine(prepared.text.tokens[:ENGINE_SAMPLE])
    refuse_full_disk(folder, prepared)
    folder.warehouse.prepare()
    model = {
        "architecture": loaded.architecture,
        "commit": loaded.commit,
        "normalization": loaded.normalization,
        "parallel_attention": loaded.parallel_attention,
        "n_layers": loaded.n_layers,
        "n_heads": loaded.n_heads,
        "d_model": loaded.d_model,
        "d_mlp": loaded.d_mlp if measurer.has_neurons else 0,
        "d_vocab": loaded.d_vocab,
        "weights_sha256": loaded.weights_sha256,
        "engine": measurer.engine,
        "device": _device_name(loaded),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformers", "transformer-lens")},
        "started_at": datetime.now(UTC).isoformat(),
    }
    folder.start(spec, prepared.text, model, fingerprint_of(prepared), restart=restart)


def store_sequences(folder: RunFolder) -> int:
    """Write the `sequences` table: each sequence, its resampling partner, and its documents."""
    partners, names = np.array(folder.spec.resample_partners()), folder.document_names
    for shard in folder.shards:
        if not shard_is_done(folder, "sequences", shard):
            some = slice(shard.start, shard.stop)
            documents = [list(dict.fromkeys(row.tolist())) for row in folder.documents[some, 1:]]
            columns = {
                "sequence": np.arange(shard.start, shard.stop),
                "resample_partner": partners[some],
                "document_numbers": documents,
                "document_names": [[names[d] for d in row] for row in documents],
            }
            store_shard(folder, "sequences", shard, columns)
    return collect(folder, "sequences")


def measure_clean_shard(folder: RunFolder, shard: Shard, progress: Progress | None = None) -> bool:
    """Measure the clean run of a shard's sequences; False where it was there already."""
    if folder.has_z_sum(shard) and all(shard_is_done(folder, t, shard) for t in CLEAN_TABLES):
        return False
    loaded = load_for(folder)
    tokens = np.asarray(folder.tokens[shard.start : shard.stop])
    facts = Measurer(loaded, folder.spec).clean(tokens, progress)
    sequence = np.arange(shard.start, shard.stop)[:, None]
    position = np.arange(tokens.shape[1] - 1)
    layer, head = np.arange(loaded.n_layers), np.arange(loaded.n_heads)
    texts = token_texts(tokens, loaded.tokenizer)
    store_shard(
        folder,
        "tokens",
        shard,
        {
            "sequence": sequence,
            "position": position,
            "token": tokens[:, :-1],
            "token_text": texts[:, :-1],
            "target": tokens[:, 1:],
            "target_text": texts[:, 1:],
            "document": np.asarray(folder.documents[shard.start : shard.stop, 1:]),
            "logit": facts.logit.numpy(),
            "logit_bias": facts.logit_bias.numpy(),
            "ln_scale": facts.ln_scale.numpy(),
        },
    )
    store_shard(
        folder,
        "mlp_effects",
        shard,
        {
            "layer": layer[:, None, None],
            "sequence": sequence,
            "position": position,
            "direct_effect": facts.mlp_effects.numpy(),
        },
    )
    store_shard(
        folder,
        "direct_effects",
        shard,
        {
            "layer": layer[:, None, None, None],
            "head": head[:, None, None],
            "sequence": sequence,
            "position": position,
            "direct_effect": facts.head_effects.numpy(),
        },
    )
    folder.write_z_sum(shard, facts.z_sum.numpy())
    return True


def precision_work(folder: RunFolder) -> int:
    """Head-tokens that choosing the precision may measure."""
    return Measurer(load_for(folder), folder.spec).sample_work(_precision_sample(folder)[0])


def layer_precision(folder: RunFolder, progress: Progress | None = None) -> LayerPrecision:
    """Per layer the precision that it has now, by what has been seen of bf16's error so far.

    It is not stored: it follows from the error on a sample, which is measured here once, and from
    that of the shards' watched rows (`precision_steps.watch`), both of which are.

    progress: is told of the head-tokens of the sample.
    """
    sample = _sampled_squares(folder, progress)
    if sample is None:
        return LayerPrecision.fp32(folder.model["n_layers"])
    notes = (folder.noted(watched_note(shard)) for shard in folder.shards)
    watched = (None if note is None else np.array(note["squares"]) for note in notes)
    return bf16_error.kept(sample, watched)


def sampled_choice(folder: RunFolder) -> LayerPrecision:
    """The precision of each layer before anything of the run was watched."""
    sample = _sampled_squares(folder)
    if sample is None:
        return LayerPrecision.fp32(folder.model["n_layers"])
    return bf16_error.chosen(sample)


def _sampled_squares(folder: RunFolder, progress: Progress | None = None) -> Squares | None:
    """What a sample of the run shows of bf16, measured once; None where bf16 is not for it."""
    spec = folder.spec
    if spec.precision == "fp32" or folder.model["engine"] != "perturbation":
        return None
    noted = folder.noted(SAMPLE)
    if noted is None:
        tokens, partners = _precision_sample(folder)
        mean_z = folder.mean_z() if any_needs(spec.ablations, "mean_z") else None
        measurer = Measurer(load_for(folder), spec)
        heads = measurer.sampled_heads
        request = AblationRequest(tokens, heads, spec.ablations, partners, mean_z)
        squares = measurer.error_of_bf16(request, progress)
        noted = {"squares": squares.tolist()}
        folder.note(SAMPLE, noted)
    return np.array(noted["squares"])


def watched_note(shard: Shard) -> str:
    """The name of the note of what a shard's watched rows showed."""
    return f"bf16-{shard}"


def _precision_sample(folder: RunFolder) -> tuple[np.ndarray, np.ndarray]:
    """Some sequences from all over the run, and their partners."""
    of_run = folder.spec.n_sequences
    n = min(SAMPLE_MOST, max(SAMPLE_LEAST, of_run // 100))
    sequences = np.linspace(0, of_run - 1, n).astype(int)
    partners = np.array(folder.spec.resample_partners())[sequences]
    return np.asarray(folder.tokens[sequences]), np.asarray(folder.tokens[partners])


def collect(folder: RunFolder, table: str, precision: LayerPrecision | None = None) -> int:
    """Name a table's shards, all of the plan, in its manifest; returns its rows."""
    paths = [stored_shard(folder, table, shard, precision) for shard in folder.shards_of(table)]
    manifest = write_manifest(folder.warehouse, table, folder.run_id, folder.fingerprint, paths)
    return sum(entry["rows"] for entry in manifest["shards"])


def run_facts(folder: RunFolder) -> dict[str, Any]:
    """What SQL must know of a run to rank its rows: the part of `run_row` that is fixed early."""
    spec, model = folder.spec, folder.model
    chosen = spec.chosen_heads(model["n_layers"], model["n_heads"])
    every = model["n_layers"] * model["n_heads"] == len(chosen)
    return {
        "run_id": spec.run_id,
        "n_layers": model["n_layers"],
        "parallel_attention": model["parallel_attention"],
        "heads": None if every else [str(head) for head in chosen],
        "top_fraction": spec.top_fraction,
    }


def run_row(folder: RunFolder) -> dict[str, Any]:
    """The run's row of the table `runs`."""
    spec, model = folder.spec, folder.model
    precision = layer_precision(folder)
    finished = folder.noted("finished") or {"at": datetime.now(UTC).isoformat()}
    return {
        **run_facts(folder),
        "model": spec.model,
        "revision": spec.revision or model["commit"],
        "weights_sha256": model.get("weights_sha256"),  # runs of older versions have none
        **{
            name: model[name]
            for name in (
                "architecture", "normalization", "n_heads", "d_model",
                "d_mlp", "d_vocab", "engine", "device", "versions",
            )
        },
        "corpus": spec.corpus,
        "sequence_length": spec.sequence_length,
        "n_sequences": spec.n_sequences,
        "n_tokens": spec.n_sequences * (spec.sequence_length - 1),
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


def shard_is_done(
    folder: RunFolder, table: str, shard: Shard, precision: LayerPrecision | None = None
) -> bool:
    """Whether the shard is there, as it was written, measured for this run's settings and text.

    precision: that it must have been measured in, for the tables that depend on it.
    """
    return _intact(folder, table, shard, precision) is not None


def stored_shard(
    folder: RunFolder, table: str, shard: Shard, precision: LayerPrecision | None = None
) -> Path:
    """The file of a shard that was measured; DamagedError where it is not there any more."""
    path = _intact(folder, table, shard, precision)
    if path is None:
        raise DamagedError(
            f"a shard of {table} for {folder.run_id}, {shard}, is gone or damaged: {MEASURE_AGAIN}"
        )
    return path


def store_shard(
    folder: RunFolder,
    table: str,
    shard: Shard,
    rows: Columns | Iterable[Columns],
    precision: LayerPrecision | None = None,
) -> None:
    """Write one shard; `rows` in one part or in several, as `write_shard` says.

    One that is there stays as it is: a run killed between two tables of a shard measures both
    again, and writes the one that is missing.
    """
    if shard_is_done(folder, table, shard, precision):
        return
    key = (folder.warehouse, table, folder.run_id, shard.start, shard.stop)
    write_shard(*key, rows, folder.fingerprint, precision.tag if precision else None)


def _intact(
    folder: RunFolder, table: str, shard: Shard, precision: LayerPrecision | None
) -> Path | None:
    key = (folder.warehouse, table, folder.run_id, shard.start, shard.stop)
    return intact_shard(*key, folder.fingerprint, precision.tag if precision else None)


def refuse_full_disk(folder: RunFolder, prepared: PreparedRun) -> None:
    """Raises InputError where what is still to be measured would not find room; writes nothing."""
    spec, loaded = prepared.spec, prepared.loaded
    heads = spec.chosen_heads(loaded.n_layers, loaded.n_heads)
    sequences = spec.n_sequences
    if folder.exists:
        done = [s for s in folder.shards if shard_is_done(folder, "head_ablations", s)]
        sequences -= sum(shard.stop - shard.start for shard in done)
    rows = sequences * (spec.sequence_length - 1) * len(heads) * len(spec.ablations)
    needed = BYTES_AT_LEAST + rows * BYTES_PER_ROW
    root = folder.warehouse.root
    free = shutil.disk_usage(next(p for p in (root, *root.parents) if p.is_dir())).free
    if needed > free:
        raise InputError(
            f"This run needs about {_size(needed)} in {root}, where {_size(free)} are free. "
            "Free some space, choose another --warehouse, or measure fewer --tokens, --layers or "
            "--ablations."
        )


def _size(n: float) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"


def fingerprint_of(prepared: PreparedRun) -> str:
    """One hash of the settings, the weights and the text as it was read: what shards are for."""
    digest = hashlib.sha256(prepared.spec.fingerprint.encode())
    digest.update(prepared.loaded.weights_sha256.encode())
    for numbers in (prepared.text.tokens, prepared.text.documents):
        digest.update(np.ascontiguousarray(numbers).tobytes())
    return digest.hexdigest()


def _device_name(loaded: LoadedModel) -> str:
    import torch

    if loaded.device.type == "cuda":
        return torch.cuda.get_device_name(loaded.device)
    return f"{loaded.device.type} ({os.cpu_count()} cores)"

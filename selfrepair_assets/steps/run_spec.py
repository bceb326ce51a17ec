"""The first step: all that can be wrong is looked at, then the run is fixed in its folder."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version

import numpy as np

from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.forecast.disk import bytes_at_most
from selfrepair_assets.measurement.forecast.forecast import size
from selfrepair_assets.measurement.model.models import (
    LoadedModel,
    choose_device,
    forget_models,
    load_model,
    look_at_model,
    refuse_precision,
)
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.measurement.text.corpus import Text, look_at_corpus, token_sequences
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.stored_shards import shard_is_done

ENGINE_SAMPLE = 2
"""Sequences on which the engine is checked before a run is measured."""
OF_MODEL = (
    *("architecture", "commit", "normalization", "parallel_attention", "post_norm"),
    *("final_cap", "logit_scale", "n_layers", "n_heads", "d_model", "d_vocab", "weights_sha256"),
)
"""What a run's plan keeps of its model as it was loaded."""


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
    # First what can be known before the weights are loaded.
    refuse_precision(spec.precision, choose_device(spec.device))
    look_at_corpus(spec.corpus, spec.text_column)
    sizes = look_at_model(spec.model, spec.revision)
    spec.chosen_heads(*sizes)
    spec.chosen_neuron_heads(*sizes)
    spec.reinforced_heads(*sizes)
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
    model = {name: getattr(loaded, name) for name in OF_MODEL} | {
        "d_mlp": loaded.d_mlp if measurer.has_neurons else 0,
        "engine": measurer.engine,
        "device": _device_name(loaded),
        "versions": {"python": platform.python_version()}
        | {
            name: version(name)
            for name in ("selfrepair", "torch", "transformers", "transformer-lens")
        },
        "started_at": datetime.now(UTC).isoformat(),
    }
    folder.start(
        spec,
        prepared.text,
        model,
        fingerprint_of(prepared),
        device_type=loaded.device.type,
        restart=restart,
    )


def refuse_full_disk(folder: RunFolder, prepared: PreparedRun) -> None:
    """Raises InputError where what is still to be measured would not find room; writes nothing."""
    spec, loaded = prepared.spec, prepared.loaded
    sequences = spec.n_sequences
    if folder.exists:
        done = [s for s in folder.shards if shard_is_done(folder, "head_ablations", s)]
        sequences -= sum(shard.stop - shard.start for shard in done)
    needed = bytes_at_most(spec, loaded, sequences)
    root = folder.warehouse.root
    free = shutil.disk_usage(next(p for p in (root, *root.parents) if p.is_dir())).free
    if needed > free:
        raise InputError(
            f"This run needs about {size(needed)} in {root}, where {size(free)} are free. "
            "Free some space, choose another --warehouse, or measure fewer --tokens, --layers or "
            "--ablations."
        )


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

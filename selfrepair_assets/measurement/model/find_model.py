"""Where a model's files are, by its name.

A model is named in one of three ways: the bundled model's name, a folder as `save_pretrained`
writes it, or a name on the Hugging Face hub. Each comes down to a folder on this machine: of the
whole model (`find_model`), or of its configuration alone (`find_configuration`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfrepair_assets.measurement import hub
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model import bundled
from selfrepair_assets.measurement.model.model_files import (
    check_configuration,
    check_model_folder,
    local_folder,
)

Notify = Callable[[str], None]
logger = logging.getLogger(__name__)

_SAFETENSORS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")
_PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin")
_SMALL_FILES = re.compile(r"[^/]+\.(json|txt|model|jinja|tiktoken)")


@dataclass(frozen=True)
class ModelFolder:
    """A complete model on this machine: its folder, and the hub's commit if it came from there."""

    path: Path
    commit: str | None = None


def find_model(
    model: str, revision: str | None = None, notify: Notify = logger.info
) -> ModelFolder:
    """The folder that holds the model, downloaded or converted if need be, and complete.

    Args:
        model: the bundled model's name, a folder, or a hub name.
        revision: the hub's branch, tag or commit.
        notify: is told, in one line, of what takes long.

    Raises:
        InputError: no such model, no network, a gated model, or files that are missing or broken.
    """
    if model in bundled.NAMES:
        _refuse_revision(model, revision)
        if Path(model).is_dir():
            notify(f"{model} is the bundled model: write ./{model} for the folder here")
        converted = bundled.bundled_model(notify)
        check_model_folder(converted)
        return ModelFolder(converted)
    path = local_folder(model)
    if path is None:
        return _download(model, revision, notify)
    _refuse_revision(model, revision)
    check_model_folder(path)
    return ModelFolder(path)


def find_configuration(model: str, revision: str | None = None) -> Path:
    """The folder with a model's config.json; of the hub's models that file alone is fetched.

    Of the bundled model, if it is not converted yet, the file that has all of it.

    Raises:
        InputError: no such model, a gated one, or neither a network nor the file in the cache.
    """
    from huggingface_hub import hf_hub_download

    if model in bundled.NAMES:
        _refuse_revision(model, revision)
        gguf = bundled.gguf_file()
        converted = bundled.converted_folder(gguf)
        return converted if converted.is_dir() else gguf
    path = local_folder(model)
    if path is not None:
        _refuse_revision(model, revision)
        check_configuration(path)
        return path
    try:
        look_up(model, revision)
        config = hf_hub_download(model, "config.json", revision=revision, endpoint=hub.ENDPOINT)
    except hub.HubUnreachableError as unreachable:
        return _cached_configuration(model, revision, unreachable)
    except Exception as error:
        raise hub.explain(error, "model", model, revision) from error
    return Path(config).parent


def look_up(model: str, revision: str | None = None) -> Any:
    """What the hub says about a model: its commit (`sha`) and its files (`siblings`).

    Raises:
        InputError: no such model or revision, a gated model; HubUnreachableError: no answer.
    """
    from huggingface_hub import HfApi

    try:
        return HfApi(endpoint=hub.ENDPOINT).model_info(
            model, revision=revision, timeout=hub.TIMEOUT, files_metadata=True
        )
    except Exception as error:
        raise hub.explain(error, "model", model, revision) from error


def wanted_files(model: str, info: Any) -> dict[str, int]:
    """Of the hub's files of a model (`look_up`) those that a run needs, with their bytes.

    Raises:
        InputError: there are no weights among them.
    """
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    weights = [n for n in sizes if _SAFETENSORS.fullmatch(n)]
    weights = weights or [n for n in sizes if _PICKLED.fullmatch(n)]
    if not weights:
        raise InputError(
            f"The hub's '{model}' has neither model.safetensors nor pytorch_model.bin. "
            "Choose the repository with the original weights."
        )
    return {n: size for n, size in sizes.items() if n in weights or _SMALL_FILES.fullmatch(n)}


def _cached_configuration(model: str, revision: str | None, unreachable: InputError) -> Path:
    """The folder in huggingface_hub's cache; raises `unreachable` where the model is not there."""
    from huggingface_hub import hf_hub_download

    try:
        config = hf_hub_download(model, "config.json", revision=revision, local_files_only=True)
    except Exception:
        raise unreachable from None
    return Path(config).parent


def _download(model: str, revision: str | None, notify: Notify) -> ModelFolder:
    """The hub's model in huggingface_hub's cache; from the cache alone where the hub is away."""
    from huggingface_hub import snapshot_download

    try:
        info = look_up(model, revision)
    except hub.HubUnreachableError as unreachable:
        path = _cached_configuration(model, revision, unreachable)
        notify(f"The hub cannot be reached: {model} is taken from this machine's cache")
        check_model_folder(path)
        return ModelFolder(path, commit=path.name)
    sizes = wanted_files(model, info)
    gigabytes = sum(sizes.values()) / 1e9
    notify(f"Fetching {model} ({gigabytes:.1f} GB) unless it is on this machine already")
    try:
        path = Path(
            snapshot_download(
                model, revision=revision, allow_patterns=list(sizes), endpoint=hub.ENDPOINT
            )
        )
    except Exception as error:
        raise hub.explain(error, "model", model, revision) from error
    check_model_folder(path)
    return ModelFolder(path, commit=path.name)


def _refuse_revision(model: str, revision: str | None) -> None:
    if revision is not None:
        raise InputError(
            f"'{model}' is on this machine and has no revisions. Leave --revision away."
        )

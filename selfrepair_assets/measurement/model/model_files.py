"""What is in a model's folder: its configuration, its weights and a tokenizer, whole or not.

A folder is looked through before anything heavy is loaded: the checks here read a few kilobytes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from selfrepair_assets.measurement.errors import InputError

_TOKENIZER_FILES = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("spiece.model",),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
)


def local_folder(model: str) -> Path | None:
    """The folder, absolute, that a model's name is the path of; None: it can only be a hub name.

    Raises:
        InputError: a path where no folder is.
    """
    path = Path(model).expanduser()
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise InputError(f"'{model:.200}' cannot be looked for ({error.strerror}).") from None
    if is_folder:
        return path.resolve()  # absolute: a relative one may read as another model's hub name
    if is_there:
        raise InputError(
            f"'{model}' is a file. A model is given as its folder, as save_pretrained writes it."
        )
    if model.startswith(("/", ".", "~")) or model.endswith("/") or model.count("/") > 1:
        raise InputError(f"There is no folder '{model}'. Check the path.")
    return None


def check_model_folder(path: Path) -> None:
    """Look for the configuration, all weights and a tokenizer, without loading any of them.

    Raises:
        InputError: what is missing or broken, and how to get it.
    """
    check_configuration(path)
    weights = weight_files(path)
    for file in weights:
        if file.suffix == ".safetensors":
            check_safetensors(file)
    if not any(all((path / name).is_file() for name in names) for names in _TOKENIZER_FILES):
        raise InputError(
            f"The folder '{path}' has no tokenizer (tokenizer.json or the like). "
            "Save it there too: tokenizer.save_pretrained(folder)."
        )


def check_configuration(path: Path) -> None:
    """Look for a configuration; raises InputError where there is none that can be read."""
    config = path / "config.json"
    if not config.is_file():
        raise InputError(
            f"The folder '{path}' has no config.json: it is not a model as save_pretrained "
            "writes it. Give the folder that has it."
        )
    _read_json(config)


def check_safetensors(path: Path) -> None:
    """Look into a safetensors file; raises InputError where it is none, or is cut off."""
    broken = InputError(
        f"The weights in '{path}' are broken or incomplete. Copy or download the file again."
    )
    try:
        with path.open("rb") as file:
            if file.read(8) == b"version ":
                raise InputError(
                    f"'{path}' is a placeholder of git-lfs, not weights. "
                    "Run `git lfs pull` in its folder."
                )
        with safe_open(path, framework="numpy") as tensors:
            if not tensors.keys():
                raise broken
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from None
    except SafetensorError:
        raise broken from None


def weight_files(path: Path) -> list[Path]:
    """The files of all weights, in the order in which transformers looks for them."""
    for single, index in (
        ("model.safetensors", "model.safetensors.index.json"),
        ("pytorch_model.bin", "pytorch_model.bin.index.json"),
    ):
        if (path / single).is_file():
            return [path / single]
        if (path / index).is_file():
            names = _names_in_index(path / index)
            missing = [name for name in names if not (path / name).is_file()]
            if missing or not names:
                raise InputError(
                    f"The folder '{path}' lacks {len(missing)} of {len(names)} weight files, "
                    f"the first being {missing[0] if missing else index}. "
                    "Copy or download them too."
                )
            return [path / name for name in names]
    others = sorted(p.name for p in path.glob("*.gguf"))
    hint = f" ({others[0]} is GGUF: save it as safetensors first)" if others else ""
    raise InputError(
        f"The folder '{path}' has no weights: neither model.safetensors nor "
        f"pytorch_model.bin{hint}. Save them there: model.save_pretrained(folder)."
    )


def _names_in_index(index: Path) -> list[str]:
    """The weight files that an index names: files of its own folder, and no others."""
    weight_map = _read_json(index).get("weight_map")
    names: list[Any] = list(weight_map.values()) if isinstance(weight_map, dict) else [None]
    if not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise InputError(
            f"'{index}' does not say which file of its folder each weight is in. "
            "Copy or download it again."
        )
    return sorted(set(names))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise InputError(f"'{path}' is not JSON. Copy or download it again.") from None
    if not isinstance(content, dict):
        raise InputError(f"'{path}' is not a JSON object. Copy or download it again.")
    return content

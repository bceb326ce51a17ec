"""Which weights were measured: those in the model's own folder, and their fingerprint.

A name can lead elsewhere than to the folder that was meant: TransformerLens has aliases for the
hub's models, transformers follows an adapter's base model. So the tensors in the folder's files are
compared with those in memory, before anything is folded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from torch import Tensor

from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model.model_files import weight_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_COMPARABLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types whose stored values are the model's; narrower ones are multiplied by scales when loaded."""


def weights_sha256(folder: Path) -> str:
    """SHA-256 over every stored tensor's name, type, shape and bytes, in the order of their names.

    The same weights in one file or in several have the same one. Reads all of the weights, at some
    0.6 GB a second.
    """
    lines = []
    for name, tensor in stored_tensors(folder):
        lines.append(f"{name} {tensor.dtype} {list(tensor.shape)} {_sha256(tensor)}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def refuse_foreign_weights(model: str, folder: Path, loaded: PreTrainedModel) -> None:
    """Look whether the weights in memory are those in the folder's files.

    Every parameter that is stored under its name and in its shape must have the values that are
    stored. Some may be under another name, or merged with others, as experts are; where all of
    them are, one stored tensor must be among the parameters by its values.

    Raises:
        InputError: the model in memory has other weights.
    """
    known = dict(loaded.named_parameters(remove_duplicate=False))
    places: dict[int, list[str]] = {}  # tied weights have one place and several names
    for parameter, tensor in known.items():
        places.setdefault(tensor.data_ptr(), []).append(parameter)
    same: set[str] = set()
    other: dict[str, str] = {}  # the stored names of those that differ
    for stored_name, stored in _comparable(folder):
        name = _name_in(known, stored_name, loaded.base_model_prefix)
        if name is not None and known[name].shape == stored.shape:
            if _equal(stored, known[name]):
                same.add(name)
            else:
                other[name] = stored_name
    for differs, stored_name in other.items():
        if same.isdisjoint(places[known[differs].data_ptr()]):
            raise _foreign(model, folder, f"{stored_name} differs")
    if not same and not _any_by_values(folder, known):
        raise _foreign(model, folder, "no tensor is the same")


def stored_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Name and values of every tensor in a checked model folder, one after another."""
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (it is no mapping)
                    yield name, file.get_tensor(name)
        else:
            for name, value in _unpickled(path).items():
                if isinstance(value, Tensor):
                    yield name, value


def _comparable(folder: Path) -> Iterator[tuple[str, Tensor]]:
    return ((name, t) for name, t in stored_tensors(folder) if t.dtype in _COMPARABLE)


def _unpickled(path: Path) -> dict[str, object]:
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # a file of PyTorch before 1.6 cannot be mapped into memory
        stored = torch.load(path, map_location="cpu", weights_only=True)
    return dict(stored)


def _name_in(known: Mapping[str, Tensor], stored: str, prefix: str) -> str | None:
    """A stored tensor's name in the model, which may have the base model's prefix or lack it."""
    names = (stored, f"{prefix}.{stored}", stored.removeprefix(f"{prefix}."))
    return next((name for name in names if name in known), None)


def _equal(stored: Tensor, known: Tensor) -> bool:
    """Whether two tensors are the same in the type that the model was loaded in."""
    return torch.equal(stored.to(known.dtype), known.cpu())


def _any_by_values(folder: Path, known: Mapping[str, Tensor]) -> bool:
    """Whether a stored tensor that is not one number throughout is among those known."""
    values = {_values(tensor) for tensor in known.values()}
    return any(
        _values(stored) in values and bool((stored != stored.flatten()[0]).any())
        for _, stored in _comparable(folder)
        if stored.numel() > 1
    )


def _values(tensor: Tensor) -> str:
    """SHA-256 of a tensor's values in fp32."""
    return _sha256(tensor.detach().to("cpu", torch.float32))


def _sha256(tensor: Tensor) -> str:
    """SHA-256 of a tensor's bytes."""
    return hashlib.sha256(tensor.contiguous().flatten().view(torch.uint8).numpy().data).hexdigest()


def _foreign(model: str, folder: Path, fault: str) -> InputError:
    return InputError(
        f"The weights that were loaded for '{model}' are not those in '{folder}' ({fault}): its "
        "name or its configuration leads to another model. Give the folder another name, and look "
        "for an adapter_config.json in it."
    )

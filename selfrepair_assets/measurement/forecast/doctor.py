"""Is everything here that a run needs? Each check is a function that returns findings.

Nothing is changed or converted, no weights are fetched or loaded: a look takes a few seconds. Of a
model named, its configuration tells which way it is measured and what a run of it takes. A `fail`
keeps a run from working, a `warn` may.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from selfrepair_assets.measurement import hub
from selfrepair_assets.measurement.cache import cache_folder
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model import bundled
from selfrepair_assets.measurement.run_spec import RunSpec

GIB = 1024**3
LEAST_MEMORY = 4 * GIB  # the bundled model's run peaks below it
LEAST_DISK = 5 * GIB  # a 270-head run over 100,000 tokens takes about 1 GiB, published 2


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `name: what`, and what to do where it is not right."""

    name: str
    status: Literal["ok", "warn", "fail"]
    what: str
    what_to_do: str = ""


def diagnose(
    warehouse: Path,
    spec: RunSpec | None = None,
    requirements: Sequence[str] | None = None,
) -> list[Finding]:
    """All findings, in the order in which a run would stumble over them.

    Args:
        warehouse: the warehouse's folder, which need not exist.
        spec: of the run that is thought of; None looks at the bundled model and at the hub.
        requirements: what must be installed, as in pyproject.toml; None asks the installation.
    """
    return [
        *check_versions(requirements),
        check_device("auto" if spec is None else spec.device),
        check_memory(),
        check_disk(warehouse),
        check_cache(),
        check_bundled_model(),
        *([check_hub()] if spec is None else check_run(spec, warehouse)),
    ]


def check_versions(requirements: Sequence[str] | None = None) -> list[Finding]:
    """Python, and each required package against its constraint."""
    python = platform.python_version()
    least = "3.11"
    recent = tuple(map(int, platform.python_version_tuple()[:2])) >= (3, 11)
    findings = [
        Finding("python", "ok", python)
        if recent
        else Finding("python", "fail", f"{python}, needed {least}", f"Install Python {least}.")
    ]
    if requirements is None:
        try:
            requirements = importlib.metadata.requires("selfrepair") or []
        except importlib.metadata.PackageNotFoundError:
            return [
                *findings,
                Finding("selfrepair", "fail", "is not installed", "Run `make install`."),
            ]
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name, needed = requirement.name, str(requirement.specifier) or "any"
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            findings.append(
                Finding(name, "fail", f"is missing, needed {needed}", "Run `make install`.")
            )
            continue
        if requirement.specifier.contains(version, prereleases=True):
            findings.append(Finding(name, "ok", version))
        else:
            findings.append(
                Finding(name, "fail", f"{version}, needed {needed}", "Run `make install`.")
            )
    return findings


def check_device(device: str = "auto") -> Finding:
    """The device that a run would take."""
    import torch

    from selfrepair_assets.measurement.model.models import choose_device

    try:
        chosen = choose_device(device)
    except InputError as error:
        return Finding("device", "fail", str(error), "Use --device auto.")
    if chosen.type == "cuda":
        free, total = torch.cuda.mem_get_info(chosen)
        name = torch.cuda.get_device_name(chosen)
        return Finding(
            "device", "ok", f"{chosen} ({name}, {free / GIB:.1f} of {total / GIB:.1f} GiB free)"
        )
    return Finding("device", "ok", f"{chosen} ({torch.get_num_threads()} threads)")


def check_memory(least: float = LEAST_MEMORY) -> Finding:
    """Main memory that is free now."""
    import psutil

    memory = psutil.virtual_memory()
    what = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    if memory.available < least:
        return Finding(
            "memory",
            "warn",
            what,
            f"Have {least / GIB:.0f} GiB free for the bundled model, more for larger ones.",
        )
    return Finding("memory", "ok", what)


def check_disk(warehouse: Path, least: float = LEAST_DISK) -> Finding:
    """The warehouse's folder can be written, and its disk has room."""
    if warehouse.exists() and not warehouse.is_dir():
        return Finding("warehouse", "fail", f"{warehouse} is a file", "Give --warehouse a folder.")
    folder = _existing(warehouse)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return Finding(
            "warehouse",
            "fail",
            f"{folder} cannot be written",
            "Give --warehouse a folder that can be.",
        )
    free = shutil.disk_usage(folder).free
    what = f"{warehouse} ({free / GIB:.1f} GiB free)"
    if free < least:
        return Finding(
            "warehouse",
            "warn",
            what,
            f"Have {least / GIB:.0f} GiB free, more for a larger run: name its MODEL.",
        )
    return Finding("warehouse", "ok", what)


def check_cache() -> Finding:
    """Converted models can be kept."""
    cache = cache_folder()
    folder = _existing(cache)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return Finding(
            "model cache",
            "fail",
            f"{cache} cannot be written",
            "Set SELFREPAIR_CACHE to a folder that can be.",
        )
    return Finding("model cache", "ok", str(cache))


def check_bundled_model() -> Finding:
    """The bundled model's package is installed; whether it is converted yet."""
    name = f"bundled model {bundled.NAME}"
    try:
        folder = bundled.converted_folder(bundled.gguf_file())
    except InputError as error:
        what, _, what_to_do = str(error).partition(". ")
        return Finding(name, "warn", what, what_to_do)
    if folder.is_dir():
        return Finding(name, "ok", f"converted in {folder}")
    return Finding(name, "ok", "is there; its first run converts it (about 20 s)")


def check_run(spec: RunSpec, warehouse: Path) -> list[Finding]:
    """A run's model: whether its files are there, which way it is measured, what it takes."""
    from selfrepair_assets.measurement.forecast.forecast import duration, foretell, memory_of, size
    from selfrepair_assets.measurement.model.configured import ConfiguredModel

    try:
        found = ConfiguredModel.find(spec.model, spec.revision, spec.device, spec.center_unembed)
    except InputError as error:
        return [_failed(f"model {spec.model}", error)]
    files = check_files(spec.model, spec.revision)
    try:
        forecast, model = foretell(spec, found)
    except InputError as error:
        return [files, _failed("way", error)]
    sizes = (
        f"{found.architecture}, {model.n_layers} layers of {model.n_heads} heads, "
        f"{found.n_parameters:,} parameters"
    )
    if forecast.times_fast is None:
        way = Finding("way", "ok", f"the fast engine: {sizes}")
    else:
        way = Finding(
            "way",
            "warn",
            f"hooked passes, one for each head: {sizes}",
            f"The fast engine does not read {model.hooked_because}: the run takes about "
            f"{forecast.times_fast:.0f} times as long as one that it measures.",
        )
    takes = [
        Finding("time", "ok", f"about {duration(forecast.seconds)}")
        if forecast.seconds is not None
        else Finding("time", "warn", "is not known of a model that does not fit in memory here")
    ]
    free = shutil.disk_usage(_existing(warehouse)).free
    for name, needed, there in (
        ("memory", forecast.memory, memory_of(found.device)[0]),
        ("disk", forecast.disk, free),
    ):
        what = f"{size(needed)} at most, of {size(there)} that are free"
        if needed <= there:
            takes.append(Finding(f"{name} of the run", "ok", what))
        else:
            takes.append(Finding(f"{name} of the run", "warn", what, LESS[name]))
    return [files, way, *takes]


LESS = {
    "memory": "Free some, or use a machine or --device that has more.",
    "disk": "Free some, or measure fewer --tokens, --layers or --ablations.",
}


def check_files(model: str, revision: str | None = None) -> Finding:
    """A model's files: complete on this machine, or on the hub."""
    from selfrepair_assets.measurement.model import find_model, model_files

    name = f"model {model}"
    try:
        if model in bundled.NAMES:
            return Finding(name, "ok", "is the bundled model")
        path = model_files.local_folder(model)
        if path is not None:
            model_files.check_model_folder(path)
            return Finding(name, "ok", "is complete")
        try:
            info = find_model.look_up(model, revision)
        except hub.HubUnreachableError:
            model_files.check_model_folder(find_model.find_configuration(model, revision))
            return Finding(name, "ok", "is in this machine's cache; the hub cannot be reached")
        gigabytes = sum(find_model.wanted_files(model, info).values()) / 1e9
        return Finding(name, "ok", f"is on the hub, commit {info.sha}, {gigabytes:.1f} GB")
    except InputError as error:
        return _failed(name, error)


def _failed(name: str, error: InputError) -> Finding:
    """The first sentence says what is wrong, the others what to do."""
    what, _, what_to_do = str(error).partition(". ")
    return Finding(name, "fail", what, what_to_do)


def check_hub() -> Finding:
    """The hub answers. Without it, local folders and the bundled model still work."""
    from huggingface_hub import HfApi

    try:
        HfApi(endpoint=hub.ENDPOINT).model_info("gpt2", timeout=hub.TIMEOUT)
    except Exception as error:
        return Finding(
            "hub",
            "warn",
            f"cannot be reached ({type(error).__name__})",
            "The bundled model, local folders and python-docs work without it.",
        )
    return Finding("hub", "ok", "can be reached")


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.expanduser().absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path

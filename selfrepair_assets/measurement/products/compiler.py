"""Where torch keeps what it compiles: in a folder of the user, where nobody else writes.

Torch's default is a name in /tmp that others could take first.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfrepair_assets.measurement.cache import cache_folder

CACHE = "TORCHINDUCTOR_CACHE_DIR"


def use_own_cache() -> None:
    """Unless the user has named another folder for it."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # a second to import

    if os.environ.get(CACHE) in (None, os.path.abspath(default_cache_dir())):  # torch sets it too
        os.environ[CACHE] = str(cache_folder() / "fused" / _cpu())


def _cpu() -> str:
    """What the processor can do, as a folder's name: code is compiled for that."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    found = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{hashlib.sha256(found.encode()).hexdigest()[:8]}"


@contextmanager
def quiet() -> Iterator[None]:
    """Compiling without torch's words: damaged files of its cache are a traceback each there."""
    compiler = logging.getLogger("torch._inductor")
    before = compiler.level
    compiler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        compiler.setLevel(before)


def reason(error: Exception) -> str:
    """Why something was not compiled, in one line, and where it would have been kept."""
    cause = getattr(error, "inner_exception", error)
    return f"({' '.join(str(cause).split())[:300]}); cache: {os.environ.get(CACHE)}"

"""Where is kept what is made once for a machine: converted models, and what is compiled."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """`$SELFREPAIR_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("SELFREPAIR_CACHE")
    root = Path(chosen) if chosen else platformdirs.user_cache_path("selfrepair", appauthor=False)
    return root.expanduser()

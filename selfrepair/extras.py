"""Packages that not every machine needs: which extra brings them, said where one is missing."""

from __future__ import annotations

import importlib.util

from selfrepair_assets.measurement.errors import InputError

EXTRAS = {
    "app": ("streamlit", "plotly"),
    "dagster": ("dagster_webserver",),
    "paper": ("streamlit", "plotly", "matplotlib"),
}
"""Each extra of the package, and the modules that it is installed for."""


def require(extra: str, what: str) -> None:
    """Raises InputError where a module of the extra is missing; `what` is what needs it."""
    missing = [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{what} needs {' and '.join(missing)}, not installed here: "
            f"pip install 'selfrepair[{extra}]'"
        )

"""Self-repair in language models, measured into a warehouse and asked with SQL.

    import selfrepair

    warehouse = selfrepair.measure("gpt2", corpus="pile", tokens=100_000)
    warehouse = selfrepair.open("warehouse/data")
    warehouse.heads("gpt2")

The parts of the project lie at the top of the checkout, where one sees them, and are imported from
here: `selfrepair.app` is the folder `app/`, and so on. The links in this folder do that, so that an
installed wheel takes one name from everybody and not `app` and `sql`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfrepair.library.measuring import measure
    from selfrepair.library.opened import OpenWarehouse, open
    from selfrepair.paper.tables import latex

__all__ = ["OpenWarehouse", "latex", "measure", "open"]

_FROM = {
    "OpenWarehouse": "library.opened",
    "open": "library.opened",
    "measure": "library.measuring",
    "latex": "paper.tables",
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for only then: `import selfrepair` alone loads no torch, no DuckDB."""
    if name not in _FROM:
        raise AttributeError(f"module 'selfrepair' has no attribute {name!r}")
    return getattr(import_module(f"selfrepair.{_FROM[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_FROM})

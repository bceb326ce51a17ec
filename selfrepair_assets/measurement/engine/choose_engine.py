"""Which engine measures a model: perturbation where its architecture is known, else hooked."""

from __future__ import annotations

from selfrepair_assets.measurement.engine.hooked import HookedEngine
from selfrepair_assets.measurement.engine.interface import Engine
from selfrepair_assets.measurement.engine.perturbation import PerturbationEngine
from selfrepair_assets.measurement.model.models import LoadedModel


def choose_engine(loaded: LoadedModel, *, fused: bool = False) -> Engine:
    """The fastest engine that knows the model.

    fused: where an engine has fused steps, it takes them.

    Raises:
        InputError: neither engine can measure the model.
    """
    if loaded.folded is None:
        return HookedEngine(loaded)
    return PerturbationEngine(loaded.folded, fused=fused)

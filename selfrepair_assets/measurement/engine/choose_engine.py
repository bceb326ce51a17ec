"""Which engine measures a model: perturbation where its architecture is known, else hooked."""

from __future__ import annotations

from selfrepair_assets.measurement.engine.hooked import HookedEngine
from selfrepair_assets.measurement.engine.interface import Engine
from selfrepair_assets.measurement.engine.perturbation import PerturbationEngine
from selfrepair_assets.measurement.model.models import LoadedModel


def choose_engine(loaded: LoadedModel) -> Engine:
    """The fastest engine that knows the model.

    Raises:
        InputError: neither engine can measure the model.
    """
    return HookedEngine(loaded) if loaded.folded is None else PerturbationEngine(loaded.folded)

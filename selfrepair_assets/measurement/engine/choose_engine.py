"""Which engine measures a model: perturbation where its architecture is known, else hooked."""

from __future__ import annotations

import logging

from selfrepair_assets.measurement.engine.hooked import HookedEngine
from selfrepair_assets.measurement.engine.interface import Engine
from selfrepair_assets.measurement.engine.perturbation import PerturbationEngine
from selfrepair_assets.measurement.model.models import LoadedModel

logger = logging.getLogger(__name__)


def choose_engine(loaded: LoadedModel) -> Engine:
    """The fastest engine that knows the model; a warning where that is the slow one.

    Raises:
        InputError: neither engine can measure the model.
    """
    if loaded.folded is not None:
        return PerturbationEngine(loaded.folded)
    logger.warning(
        "The perturbation engine does not know %s. Measuring with hooked forward passes, "
        "which is slow but general.",
        loaded.architecture,
    )
    return HookedEngine(loaded)

"""The arrays and notes of a run's folder: written whole, with a checksum that is looked at.

Where the warehouse's facts lie in an object store too, these do: a worker on another machine reads
there what a run is, and its notes of a shard are got from there.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from selfrepair.warehouse import sealed
from selfrepair.warehouse.object_store import NoStore, store_of
from selfrepair.warehouse.paths import Warehouse

logger = logging.getLogger(__name__)


class RunFiles:
    """What is kept in one folder of a run."""

    def __init__(self, warehouse: Warehouse, path: Path) -> None:
        self.warehouse, self.path = warehouse, path

    @property
    def _objects(self) -> NoStore:
        return store_of(self.warehouse)

    def save(self, stem: str, array: np.ndarray) -> None:
        """Writes an array; what lay there under that name is set aside where it is damaged."""
        path = sealed.write_sealed(self.path, stem, ".npy", lambda file: np.save(file, array))
        others = [p for p in sealed.sealed_files(self.path, stem, ".npy") if p != path]
        self._objects.remove(others)
        self._objects.put(path)
        for other in others:
            aside = sealed.set_aside(other)
            logger.warning(f"{other} was damaged: it is made anew ({aside.name} is kept)")

    def find(self, stem: str) -> Path | None:
        """The array's file, if its bytes are those that were written; None where there is none."""
        path = sealed.intact_file(self.path, stem, ".npy")
        if path is not None:
            self._objects.keep(path)
        elif self._objects.get(self.path, stem, ".npy"):
            path = sealed.intact_file(self.path, stem, ".npy")
        return path

    def need(self, stem: str) -> Path:
        """The array's file; DamagedError where it is gone or damaged."""
        path = self.find(stem)
        if path is None:
            raise sealed.DamagedError(
                f"{self.path / stem}.npy is gone or damaged: the `selfrepair run` command that "
                "began the run makes it anew"
            )
        return path

    def note(self, name: str, value: dict[str, Any]) -> None:
        """Keep a small fact of the run, such as when it was finished."""
        path = self.path / f"{name}.json"
        sealed.write_json(path, value)
        self._objects.put(path)

    def noted(self, name: str) -> dict[str, Any] | None:
        """A fact that was kept; None where it never was, or is damaged: then it is found anew."""
        path = self.path / f"{name}.json"
        if not path.exists():
            self._objects.get(self.path, name, ".json")
        try:
            return sealed.read_json(path, "it is found anew")
        except sealed.DamagedError as error:
            logger.warning(str(error))
            sealed.set_aside(path)
            return None

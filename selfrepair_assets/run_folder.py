"""What the warehouse keeps of a run beside its facts: `<warehouse>/runs/<run>/`.

    spec.json         the run's settings, fixed when the run is started
    model.json        what the model is: architecture, sizes, engine, device, versions
    plan.json         the shards: [start, stop) of sequences
    tokens.npy        int32 [sequence pos]
    z_sums/*.npy      per shard, float64 [layer head d_head]; for mean ablation
    top_rows.npy      where each head's top rows are, as SQL ranked them
    precision.json    per layer: fp32 or bf16, and the error it was chosen by

Files are written whole or not at all, so that a run killed at any moment goes on from here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.kept_details import KeptRows
from selfrepair_assets.measurement.run_spec import RunSpec
from warehouse.errors import one_clear_line
from warehouse.facts import fact_tables
from warehouse.manifest import remove_facts
from warehouse.paths import Warehouse, written_whole

PLACE = ("layer", "head", "sequence", "position")
ROWS_PER_SHARD = 250_000
"""Rows of `head_ablations` that a shard aims at: some 5 MB, and minutes of work to lose."""
LEAST_SHARDS = 8
"""A small run is cut at least so often, so that an interruption loses an eighth of it at most."""


@dataclass(frozen=True)
class Shard:
    """Sequences `start` (inclusive) to `stop` (exclusive)."""

    start: int
    stop: int

    def __str__(self) -> str:
        return f"sequences-{self.start:06d}-{self.stop:06d}"


class RunFolder:
    """One run's folder in a warehouse."""

    def __init__(self, warehouse: Warehouse, run_id: str) -> None:
        self.warehouse, self.run_id = warehouse, run_id
        self.path = warehouse.run_folder(run_id)

    @staticmethod
    def all_in(warehouse: Warehouse) -> list[RunFolder]:
        """The runs that were started in a warehouse, by name."""
        specs = sorted((warehouse.root / "runs").glob("*/spec.json"))
        names = [RunSpec.from_json(path.read_text()).run_id for path in specs]
        return [RunFolder(warehouse, name) for name in names]

    @property
    def exists(self) -> bool:
        return (self.path / "spec.json").is_file()

    def start(
        self, spec: RunSpec, tokens: np.ndarray, model: dict[str, Any], *, restart: bool = False
    ) -> None:
        """Fix the run's settings and text; a run of the same settings goes on where it stopped.

        Raises:
            InputError: the run on disk has other settings (or other text) and `restart` is not set.
        """
        if self.exists and not restart:
            self.refuse_other(spec, tokens)
            return
        self.remove()  # also what a killed removal left: a choice of rows is not measured anew
        self.path.mkdir(parents=True, exist_ok=True)
        with one_clear_line(f"start {self.run_id}"):
            with written_whole(self.path / "tokens.npy") as path, path.open("wb") as file:
                np.save(file, tokens)
            n_heads = len(spec.chosen_heads(model["n_layers"], model["n_heads"]))
            self._write("model.json", model)
            self._write("plan.json", {"shards": _plan(spec, n_heads)})
            self._write("spec.json", json.loads(spec.to_json()))  # last: it says that all is there

    def remove(self) -> None:
        """Remove the run's folder and its facts; what is published stays."""
        (self.path / "spec.json").unlink(missing_ok=True)  # first: killed here, it is not a run
        shutil.rmtree(self.path, ignore_errors=True)
        for table in fact_tables():
            remove_facts(self.warehouse, table, self.run_id)

    def require(self) -> None:
        """Raises InputError where the run was not started."""
        if not self.exists:
            raise InputError(
                f"The run '{self.run_id}' was not started in {self.warehouse.root}. "
                "Materialize run_spec first, or use `selfrepair run`."
            )

    @cached_property
    def spec(self) -> RunSpec:
        self.require()
        return RunSpec.from_json((self.path / "spec.json").read_text())

    @property
    def fingerprint(self) -> str:
        """The spec's fingerprint as it was when the run was started (text files may be gone)."""
        return self.model["fingerprint"]

    @cached_property
    def model(self) -> dict[str, Any]:
        return self._read("model.json")

    @cached_property
    def shards(self) -> list[Shard]:
        return [Shard(start, stop) for start, stop in self._read("plan.json")["shards"]]

    @cached_property
    def tokens(self) -> np.ndarray:
        """int32 [sequence pos], memory-mapped."""
        return np.load(self.path / "tokens.npy", mmap_mode="r")

    def write_z_sum(self, shard: Shard, z_sum: np.ndarray) -> None:
        with written_whole(self._z_sum(shard)) as path, path.open("wb") as file:
            np.save(file, z_sum)

    def has_z_sum(self, shard: Shard) -> bool:
        return self._z_sum(shard).is_file()

    @property
    def has_top_rows(self) -> bool:
        return (self.path / "top_rows.npy").is_file()

    def write_top_rows(self, places: Mapping[str, np.ndarray]) -> None:
        """Keep where the heads' top rows are, sorted by sequence."""
        rows = np.stack([np.asarray(places[name], dtype=np.int32) for name in PLACE])
        with written_whole(self.path / "top_rows.npy") as path, path.open("wb") as file:
            np.save(file, rows[:, np.argsort(rows[2], kind="stable")])

    def top_rows(self, start: int = 0, stop: int | None = None) -> KeptRows:
        """The heads' top rows in sequences `start` to `stop - 1`, counted from `start`."""
        rows = np.load(self.path / "top_rows.npy", mmap_mode="r")
        first, last = np.searchsorted(
            rows[2], [start, self.spec.n_sequences if stop is None else stop]
        )
        found = KeptRows.at(dict(zip(PLACE, rows[:, first:last], strict=True)))
        return found.after(-start)

    def mean_z(self) -> np.ndarray:
        """The mean `z` over all tokens of the run: float64 [layer head d_head]."""
        total = sum(np.load(self._z_sum(shard)) for shard in self.shards)
        return np.asarray(total / self.tokens.size)

    def precision(self, choose: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The stored choice of precision, chosen once and then the same for every shard."""
        if not (self.path / "precision.json").is_file():
            self._write("precision.json", choose())
        return self._read("precision.json")

    def note(self, name: str, value: dict[str, Any]) -> None:
        """Keep a small fact of the run, such as when it was finished."""
        self._write(f"{name}.json", value)

    def noted(self, name: str) -> dict[str, Any] | None:
        return self._read(f"{name}.json") if (self.path / f"{name}.json").is_file() else None

    def refuse_other(self, spec: RunSpec, tokens: np.ndarray) -> None:
        """Raises InputError where the run on disk has other settings or another text."""
        differences = self.spec.differences(spec)
        if not differences and not np.array_equal(self.tokens, tokens):
            differences = ["the corpus has another text now"]
        if differences:
            raise InputError(
                f"The run '{self.run_id}' is in this warehouse with other settings "
                f"({'; '.join(differences)}). Add --restart to measure it anew, "
                "or use another --warehouse."
            )

    def _z_sum(self, shard: Shard) -> Path:
        return self.path / "z_sums" / f"{shard}.npy"

    def _write(self, name: str, value: dict[str, Any]) -> None:
        with written_whole(self.path / name) as path:
            path.write_text(json.dumps(value, indent=2))

    def _read(self, name: str) -> dict[str, Any]:
        return json.loads((self.path / name).read_text())


def _plan(spec: RunSpec, n_heads: int) -> list[tuple[int, int]]:
    """Cut the run's sequences in shards."""
    n, size = spec.n_sequences, spec.shard_sequences
    if size is None:
        rows = (spec.sequence_length - 1) * n_heads * len(spec.ablations)
        size = min(max(1, ROWS_PER_SHARD // rows), -(-n // LEAST_SHARDS))
    return [(start, min(start + size, n)) for start in range(0, n, size)]

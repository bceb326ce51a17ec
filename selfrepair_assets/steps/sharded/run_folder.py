"""What the warehouse keeps of a run beside its facts: `<warehouse>/runs/<run>/`.

    run.json             what the run consists of (warehouse/plan.py): its tables and shards, its
                         settings, and what the model is: architecture, sizes, engine, device
    tokens.<sha256>.npy  int32 [sequence pos]
    documents.<…>.npy    int32 [sequence pos], the document that each token is of
    text.json            the documents' names, and what the sequences were drawn from
    z_sums/*.npy         per shard, float64 [layer head d_head]; for mean ablation
    top_rows.<…>.npy     where each head's top rows are, as SQL ranked them
    <fast>-sample.json   the error of tf32 or bf16 on a sample, before the run
    <fast>-sequences-…   the error on the watched rows of each shard
    checks.json, finished.json, published.json

Files are written whole or not at all, so that a run killed at any moment goes on from here. All
carry checksums (warehouse/sealed.py); what is damaged is set aside and made again from the text,
the shards or the model, or measured again.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from selfrepair.warehouse import sealed
from selfrepair.warehouse.errors import one_clear_line
from selfrepair.warehouse.facts.plan import Plan, plan_path, read_plan, require_plan, write_plan
from selfrepair.warehouse.facts.run_facts import all_tables, remove_leftovers, set_damaged_aside
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.object_store import store_of
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.engine.results import KeptRows
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.measurement.text.corpus import Text
from selfrepair_assets.steps.sharded.run_files import RunFiles
from selfrepair_assets.steps.sharded.shards import Shard, planned_tables

logger = logging.getLogger(__name__)
PLACE = ("layer", "head", "sequence", "position")


class RunFolder(RunFiles):
    """One run's folder in a warehouse."""

    def __init__(self, warehouse: Warehouse, run_id: str) -> None:
        super().__init__(warehouse, warehouse.run_folder(run_id))
        self.run_id = run_id
        self.z_sums = RunFiles(warehouse, self.path / "z_sums")

    def __reduce__(self) -> tuple[type[RunFolder], tuple[Warehouse, str]]:
        """In another process it is the same folder, read there."""
        return RunFolder, (self.warehouse, self.run_id)

    @property
    def exists(self) -> bool:
        """Whether the run was started; one whose plan is damaged is begun anew over its shards.

        Raises WarehouseError for a run of an older version.
        """
        try:
            return read_plan(self.warehouse, self.run_id) is not None
        except sealed.DamagedError:
            return False

    def start(
        self,
        spec: RunSpec,
        text: Text,
        model: dict[str, Any],
        fingerprint: str,
        *,
        device_type: str,
        restart: bool = False,
    ) -> None:
        """Fix the run's settings and text; a run of the same settings goes on where it stopped.

        A run is cut in shards for the kind of device that it begins on.

        What is damaged is set aside, with a line of the log for each: it is made or measured again.
        Only the run's holder (`warehouse.locks.run_held`) may.

        Raises:
            InputError: the run on disk has other settings, text or weights and `restart` is not
                set.
        """
        if restart:
            self.remove()
        with one_clear_line(f"start {self.run_id}"):
            remove_leftovers(self.warehouse, self.run_id)
            plan = self._plan_or_aside()
            if plan is None:
                self._refuse_foreign_shards(fingerprint)
                n_heads = len(spec.chosen_heads(model["n_layers"], model["n_heads"]))
                self._write_text(text)
                about = {"spec": spec.as_json(), "model": model}
                tables = planned_tables(spec, n_heads, device_type)
                write_plan(self.warehouse, self.run_id, fingerprint, tables, about)
            else:
                self.refuse_other(spec, fingerprint, model["weights_sha256"])
                if spec.until != self.spec.until:
                    about = {**plan.about, "spec": {**plan.about["spec"], "until": spec.until}}
                    write_plan(self.warehouse, self.run_id, fingerprint, plan.tables, about)
                if not self._has_text:
                    self._write_text(text)  # that of the fingerprint
            self._forget()
            aside = set_damaged_aside(self.warehouse, self.run_id)
            for note in self.path.glob("*.json"):
                store_of(self.warehouse).keep(note)
        for path in aside:
            logger.warning(f"{path} is damaged: it is set aside and measured again")

    def remove(self) -> None:
        """Remove the run's folder and its facts; what is published stays."""
        plan, objects = plan_path(self.warehouse, self.run_id), store_of(self.warehouse)
        objects.remove([plan])
        plan.unlink(missing_ok=True)  # killed here, it is no run
        objects.remove_folder(self.path)
        shutil.rmtree(self.path, ignore_errors=True)
        for table in all_tables(self.warehouse, self.run_id):
            table.remove()
        self._forget()

    def require(self) -> None:
        """Raises InputError where the run was not started, DamagedError where its plan is lost."""
        if read_plan(self.warehouse, self.run_id) is None:
            raise InputError(
                f"The run '{self.run_id}' was not started in {self.warehouse.root}. "
                "Materialize run_spec first, or use `selfrepair run`."
            )

    @cached_property
    def plan(self) -> Plan:
        self.require()
        return require_plan(self.warehouse, self.run_id)

    @cached_property
    def spec(self) -> RunSpec:
        return RunSpec.from_json(self.plan.about["spec"])

    @property
    def fingerprint(self) -> str:
        """`fingerprint_of` as it was when the run was started (text files may be gone)."""
        return self.plan.fingerprint

    @property
    def model(self) -> dict[str, Any]:
        """What the model is: architecture, sizes, weights, engine, device, versions."""
        return dict(self.plan.about["model"])

    @property
    def shards(self) -> list[Shard]:
        """The parts in which the run's sequences are measured."""
        return self.shards_of("sequences")

    def shards_of(self, table: str) -> list[Shard]:
        """The shards that a table has, of all the run's or of the first sequences only."""
        return [Shard(start, stop) for start, stop in self.plan.tables[table]]

    @cached_property
    def tokens(self) -> np.ndarray:
        """int32 [sequence pos], memory-mapped."""
        return np.load(self.need("tokens"), mmap_mode="r")

    @cached_property
    def documents(self) -> np.ndarray:
        """int32 [sequence pos], memory-mapped: the document that each token is of."""
        return np.load(self.need("documents"), mmap_mode="r")

    @property
    def document_names(self) -> dict[int, str]:
        """The names of these documents."""
        return {int(number): name for number, name in self._about_text["names"].items()}

    @property
    def drawn_from(self) -> str | None:
        """What the run's sequences were drawn from, in words; None for an older run."""
        return self._about_text.get("drawn_from")

    @property
    def _about_text(self) -> dict[str, Any]:
        text = self.noted("text")
        if text is None and sealed.sealed_files(self.path, "documents", ".npy"):
            raise sealed.DamagedError(
                f"what {self.run_id} knows of its text is gone or damaged: the `selfrepair run` "
                "command that began the run writes it anew"
            )
        return text or {"names": {}}  # a run of an older version has none

    def table(self, name: str) -> RunTable:
        """One of the run's fact tables; of a run that was stopped, what is measured of it."""
        return RunTable(self.warehouse, name, self.run_id, self.stopped_at)

    @property
    def stopped_at(self) -> int | None:
        """After how many sequences `--until` stopped the run (`steps/until.py`); None: never."""
        noted = self.noted("stopped") if self.spec.until else None
        return noted["n_sequences"] if noted and noted["until"] == self.spec.until else None

    def get_shard(self, tables: Iterable[str], shard: Shard) -> None:
        """Gets a shard that was measured on another machine, where the facts lie in a store."""
        store_of(self.warehouse).look_anew()
        for name in tables if store_of(self.warehouse).address else ():
            self.table(name).intact(shard.start, shard.stop, self.fingerprint)

    def has_z_sum(self, shard: Shard) -> bool:
        return self.z_sums.find(str(shard)) is not None

    def write_top_rows(self, places: Mapping[str, np.ndarray]) -> None:
        """Keep where the heads' top rows are, sorted by sequence."""
        rows = np.stack([np.asarray(places[name], dtype=np.int32) for name in PLACE])
        self.save("top_rows", rows[:, np.argsort(rows[2], kind="stable")])

    def top_rows(self, start: int = 0, stop: int | None = None) -> KeptRows:
        """The heads' top rows in sequences `start` to `stop - 1`, counted from `start`."""
        rows = np.load(self.need("top_rows"), mmap_mode="r")
        first, last = np.searchsorted(
            rows[2], [start, self.spec.n_sequences if stop is None else stop]
        )
        found = KeptRows.at(dict(zip(PLACE, rows[:, first:last], strict=True)))
        return found.after(-start)

    def mean_z(self) -> np.ndarray:
        """The mean `z` over all tokens of the run: float64 [layer head d_head]."""
        sums = [self.z_sums.need(str(shard)) for shard in self.shards]
        return np.asarray(sum(np.load(path) for path in sums) / self.tokens.size)

    def refuse_other(
        self, spec: RunSpec, fingerprint: str | None = None, weights_sha256: str | None = None
    ) -> None:
        """Raises InputError where the run on disk has other settings, text or weights.

        fingerprint: of settings, text and weights as they are now; None looks at settings alone.
        weights_sha256: the model's as it is now; None does not look.
        """
        differences = self.spec.differences(spec)
        if not differences and weights_sha256 is not None:
            differences = self._other_weights(weights_sha256)
        if not differences and fingerprint not in (None, self.fingerprint):
            differences = ["the corpus has another text now, or an older version measured it"]
        if differences:
            raise InputError(
                f"The run '{self.run_id}' is in this warehouse with other settings "
                f"({'; '.join(differences)}). Add --restart to measure it anew, "
                "or use another --warehouse."
            )

    def _other_weights(self, weights_sha256: str) -> list[str]:
        begun_with = self.model.get("weights_sha256")
        if begun_with is None:
            return ["it was begun without a note of the model's weights"]
        return [] if begun_with == weights_sha256 else ["the model has other weights now"]

    def _plan_or_aside(self) -> Plan | None:
        """The plan; one that is damaged is set aside, and the run begun anew over its shards."""
        try:
            return read_plan(self.warehouse, self.run_id)
        except sealed.DamagedError as error:
            aside = sealed.set_aside(plan_path(self.warehouse, self.run_id))
            logger.warning(f"{error} (it is now {aside.name})")
            return None

    def _refuse_foreign_shards(self, fingerprint: str) -> None:
        """A run whose plan is lost goes on with its shards, if they are of these settings."""
        tables = all_tables(self.warehouse, self.run_id)
        others = set().union(*(table.fingerprints() for table in tables)) - {fingerprint}
        if others:
            raise InputError(
                f"The warehouse holds shards of '{self.run_id}' that were measured with other "
                "settings or another text or weights, and its run.json, which says which, is lost. "
                "Repeat the command that began it, or add --restart to measure it anew."
            )

    @property
    def _has_text(self) -> bool:
        arrays = map(self.find, ("tokens", "documents"))
        return None not in arrays and self.noted("text") is not None

    def _write_text(self, text: Text) -> None:
        self.save("tokens", text.tokens)
        self.save("documents", text.documents)
        names = {str(number): name for number, name in text.names.items()}
        self.note("text", {"names": names, "drawn_from": text.drawn_from})

    def _forget(self) -> None:
        """What was read of the run is read anew."""
        for name in ("plan", "spec", "tokens", "documents"):
            self.__dict__.pop(name, None)

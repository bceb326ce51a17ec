"""Measure a run: which engine, at which precision, how much at once, batch after batch.

The one door to the numerical core for everything outside of it. Where the device's memory is too
small for what was thought to fit, what is left of a batch is measured in halves, and so is all that
follows: that changes no number beyond rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import TypeVar

import numpy as np
import psutil
import torch
from torch import Tensor

from selfrepair_assets.measurement.engine import fast_error
from selfrepair_assets.measurement.engine.choose_engine import choose_engine
from selfrepair_assets.measurement.engine.fast_error import Sampled, Squares
from selfrepair_assets.measurement.engine.fused import is_worth
from selfrepair_assets.measurement.engine.interface import AblationRequest, tokens_on
from selfrepair_assets.measurement.engine.results import Arriving, CleanFacts, MeasuredHeads
from selfrepair_assets.measurement.errors import EngineMismatchError, InputError
from selfrepair_assets.measurement.heads import Head, by_layer
from selfrepair_assets.measurement.model.models import LoadedModel, refuse_precision
from selfrepair_assets.measurement.products.precision import fast_precisions
from selfrepair_assets.measurement.run_spec import RunSpec

CPU_TOKENS_AT_ONCE, FUSED_TOKENS_AT_ONCE = 2048, 4096
"""Rows x positions of one propagation on a CPU: activations that stay in its caches. Fused steps
have fewer, and gain by larger products."""
LOGIT_TOLERANCE = 1e-3
"""Largest difference to the model's own logits, as a share of their largest, that is rounding."""

Found = TypeVar("Found")
logger = logging.getLogger(__name__)

Progress = Callable[[int], None]
"""Is told how many head-tokens (heads x prediction positions) were done since it was last told."""


class Measurer:
    """One run's measurement: `clean` and `ablate` over any of its sequences.

    The values do not depend on the batch size, on which sequences are measured together, or on
    the machine, beyond rounding.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        spec: RunSpec,
        layer_precision: Sequence[str] | None = None,
        fused: bool | None = None,
    ) -> None:
        """fused: whether bf16's steps are compiled; None: where the run is long enough for it."""
        refuse_precision(spec.precision, loaded.device)
        self.loaded, self.spec = loaded, spec
        if fused is None:
            fused = loaded.folded is not None and is_worth(spec, loaded.folded)
        self._cpu_tokens_at_once = FUSED_TOKENS_AT_ONCE if fused else CPU_TOKENS_AT_ONCE
        self._engine = choose_engine(loaded, fused=fused)
        self.layer_precision = list(layer_precision or ["fp32"] * loaded.n_layers)

    @property
    def engine(self) -> str:
        """The name of the engine that measures: `perturbation` or `hooked`."""
        return self._engine.name

    @property
    def has_neurons(self) -> bool:
        """Whether the last MLP layer is one of neurons; a mixture of experts is not."""
        return self._engine.has_neurons

    def check_engine(self, tokens: np.ndarray) -> float:
        """Compare clean logits, before a final cap, with the model's on `tokens` [sequence pos].

        Returns:
            The largest difference, in logits.

        Raises:
            EngineMismatchError: they differ by more than rounding.
        """
        sample = self._tensor(tokens)
        with torch.inference_mode():
            ours, theirs = (
                logits - logits.mean(-1, keepdim=True)
                for logits in (self._engine.logits(sample), self.loaded.logits(sample))
            )
            difference = (ours - theirs).abs().max().item()
            largest = theirs.abs().max().item()
        if not difference <= LOGIT_TOLERANCE * largest:
            raise EngineMismatchError(
                f"The {self.engine} engine's clean logits of '{self.loaded.name}' differ from the "
                f"model's by up to {difference:.3g} (largest logit {largest:.3g}). Nothing was "
                "measured. Please report the model's architecture: " + self.loaded.architecture
            )
        return difference

    def batch_size(self, positions: int) -> int:
        """Sequences of some length measured at once: as asked for, else what the memory holds."""
        size = self.spec.batch_size
        if size is None:
            engine, memory = self._engine, self._free_memory()
            fits = memory // 2 // max(1, engine.bytes_per_sequence(positions))
            wanted = self.rows_at_once(positions) // max(1, self.loaded.n_heads)
            size = max(1, min(fits, wanted))
        return min(size, self.loaded.at_most.sequences)

    def rows_at_once(self, positions: int) -> int:
        """The most `head x sequence` rows that are propagated together."""
        fits = int(self._free_memory() // 4 // max(1, self._engine.bytes_per_row(positions)))
        if self.loaded.device.type == "cpu":
            fits = min(fits, max(self.loaded.n_heads, self._cpu_tokens_at_once // positions))
        return min(max(1, fits), self.loaded.at_most.rows)

    def working_bytes(self, positions: int) -> int:
        """What is taken at most while heads are ablated over sequences of some length."""
        spec, model, engine = self.spec, self.loaded, self._engine
        heads = len(spec.chosen_heads(model.n_layers, model.n_heads))
        in_shard = spec.sequences_in_shard(heads, model.device.type)
        batch = min(self.batch_size(positions), in_shard)
        rows = min(self.rows_at_once(positions), batch * self.loaded.n_heads)
        return batch * engine.bytes_per_sequence(positions) + rows * engine.bytes_per_row(positions)

    def clean(self, tokens: np.ndarray, progress: Progress | None = None) -> CleanFacts:
        """The clean facts of `tokens` [sequence pos], on the CPU; see `CleanFacts` for shapes."""
        parts = []
        for facts in self._batches(tokens, lambda batch, _: self._engine.clean_facts(batch), None):
            parts.append(facts)
            if progress is not None:
                progress(facts.logit.numel())
        return CleanFacts.of_batches(parts)

    def ablate(
        self, request: AblationRequest, progress: Progress | None = None
    ) -> Iterator[MeasuredHeads]:
        """One answer for each of the request's parts, in that order, in the host's memory.

        Each is given as soon as its last batch is there, while the device is at the next one.
        """
        gathered: dict[tuple[str, int], list[MeasuredHeads]] = {}
        start, (n, positions) = 0, request.tokens.shape
        while start < n:
            stop = min(n, start + self.batch_size(positions))
            batch = request.in_sequences(start, stop)
            for found in _one_behind(self._answers(batch, self.rows_at_once(positions))):
                if progress is not None:
                    progress(found.columns["logit_change"].numel())
                parts = gathered.setdefault((found.ablation, found.layer), [])
                parts.append(found)
                if stop == n:
                    yield MeasuredHeads.of_batches(parts)
                    parts.clear()
            start = stop

    def _answers(self, batch: AblationRequest, rows: int) -> Iterator[Arriving]:
        """The answers to a batch, so many rows at once: in halves from where memory is short."""
        answered = set(batch.answered)
        try:
            for found in self._engine.ablate_heads(batch, self.layer_precision, rows):
                answered.add((found.ablation, found.layer))
                yield Arriving(found)
            return
        except RuntimeError as error:
            n, of_layers = len(batch.tokens), by_layer(batch.heads).values()
            most = n * max(map(len, of_layers), default=1)
            rows = self._halve(error, n, min(rows, most))
        left = replace(batch, answered=frozenset(answered))
        if n == 1:
            yield from self._answers(left, rows)
            return
        halves = (left.in_sequences(0, n // 2), left.in_sequences(n // 2, n))
        first = [found.arrived() for found in self._answers(halves[0], rows)]
        for one, other in zip(first, self._answers(halves[1], rows), strict=True):
            yield Arriving(MeasuredHeads.of_batches([one, other.arrived()]))

    def reinforce(
        self,
        tokens: np.ndarray,
        heads: Sequence[Head],
        scales: Sequence[float],
        progress: Progress | None = None,
    ) -> Iterator[MeasuredHeads]:
        """Feed each head its own output over `tokens` [sequence pos]: one answer for each layer.

        scales: multiples of the head's output (paper: 1, 3 and 5; section 5.3).
        """
        for of_layer in by_layer(heads).values():

            def of_batch(
                batch: Tensor, rows: int, heads: Sequence[Head] = of_layer
            ) -> list[Arriving]:
                found = self._engine.reinforce_heads(batch, heads, scales, rows)
                return [Arriving(part) for part in found]

            parts: list[MeasuredHeads] = []
            for found in self._batches(tokens, of_batch, len(scales) * len(of_layer)):
                parts += [part.arrived() for part in found]
                if progress is not None:
                    progress(parts[-1].columns["direct_effect_after"].numel())
            yield MeasuredHeads.of_batches(parts)

    @property
    def sampled_heads(self) -> list[Head]:
        """The heads on which the fast precision is tried before the run."""
        heads = self.spec.chosen_heads(self.loaded.n_layers, self.loaded.n_heads)
        return fast_error.sampled_heads(heads)

    @property
    def _tried(self) -> tuple[str, ...]:
        """The fast precisions that a layer may have."""
        return fast_precisions(self.spec.precision, self.loaded.device)

    def sample_work(self, tokens: np.ndarray) -> int:
        """The head-tokens of trying it on `tokens` [sequence pos], in fp32 and in each fast one."""
        times = 1 + len(self._tried)
        return times * len(self.sampled_heads) * len(self.spec.ablations) * tokens[:, 1:].size

    def sample(self, request: AblationRequest, progress: Progress | None = None) -> Sampled:
        """What each fast precision of the run costs in every layer."""
        every = [[fast] * self.loaded.n_layers for fast in self._tried]
        return dict(zip(self._tried, self.errors_of_fast(request, every, progress), strict=True))

    def errors_of_fast(
        self,
        request: AblationRequest,
        choices: Sequence[Sequence[str]],
        progress: Progress | None = None,
    ) -> list[Squares]:
        """Ablate as requested in fp32, and then with each choice of the layers' precisions."""

        def changes(layer_precision: Sequence[str]) -> dict[tuple[str, int], np.ndarray]:
            measurer = copy(self)
            measurer.layer_precision = list(layer_precision)
            results = measurer.ablate(request, progress)
            return {(r.ablation, r.layer): r.columns["logit_change"].numpy() for r in results}

        kinds, n_layers = request.ablations, self.loaded.n_layers
        exact = changes(["fp32"] * n_layers)
        return [fast_error.squares(exact, changes(of), kinds, n_layers) for of in choices]

    def _tensor(self, tokens: np.ndarray) -> Tensor:
        return tokens_on(self.loaded.device, tokens)

    def _batches(
        self,
        tokens: np.ndarray,
        measure: Callable[[Tensor, int], Found],
        rows_per_sequence: int | None,
    ) -> Iterator[Found]:
        """What `measure` gives for each batch of tokens [sequence pos] and the rows at once.

        rows_per_sequence: that it has; None where it propagates no rows.
        """
        start, (n, positions) = 0, tokens.shape
        while start < n:
            stop = min(n, start + self.batch_size(positions))
            rows = self.rows_at_once(positions)
            try:
                found = measure(self._tensor(tokens[start:stop]), rows)
            except RuntimeError as error:
                there = rows_per_sequence and min(rows, (stop - start) * rows_per_sequence)
                self._halve(error, stop - start, there)
                continue
            yield found
            start = stop

    def _halve(self, error: RuntimeError, sequences: int, rows: int | None) -> int:
        """From now on at most half of what was tried is measured at once; returns the rows.

        Raises the error again where memory is not why, InputError where there is nothing to halve.
        """
        if not _is_out_of_memory(error):
            raise error
        if sequences == 1 and rows in (None, 1):
            raise InputError(
                f"The memory of {self.loaded.device} is too small for one sequence of "
                f"'{self.loaded.name}'. Use a shorter --sequence-length, or --device cpu."
            ) from error
        at_most = self.loaded.at_most
        at_most.sequences = max(1, sequences // 2)
        if rows is not None:
            at_most.rows = max(1, rows // 2)
        logger.warning(
            f"The memory of {self.loaded.device} is too small for what was thought to fit: half "
            "as much is measured at once from now on"
        )
        return at_most.rows

    def _free_memory(self) -> int:
        device = self.loaded.device
        if device.type == "cuda":  # what torch has taken and does not use is free for us
            unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            return torch.cuda.mem_get_info(device)[0] + unused
        return psutil.virtual_memory().available


def _one_behind(answers: Iterable[Arriving]) -> Iterator[MeasuredHeads]:
    """Each answer when the device has the work of the next one."""
    waiting: Arriving | None = None
    for answer in answers:
        if waiting is not None:
            yield waiting.arrived()
        waiting = answer
    if waiting is not None:
        yield waiting.arrived()


def _is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a class of its own for it, Apple's MPS and the CPU have words."""
    words = ("out of memory", "not enough memory", "allocate memory")
    return isinstance(error, torch.OutOfMemoryError) or any(w in str(error) for w in words)

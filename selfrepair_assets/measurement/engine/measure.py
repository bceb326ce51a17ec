"""Measure a run: which engine, at which precision, how much at once, batch after batch.

The one door to the numerical core for everything outside of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy

import numpy as np
import psutil
import torch
from torch import Tensor

from selfrepair.errors import OneLineError
from selfrepair_assets.measurement.engine import bf16_error
from selfrepair_assets.measurement.engine.bf16_error import Squares
from selfrepair_assets.measurement.engine.choose_engine import choose_engine
from selfrepair_assets.measurement.engine.interface import AblationRequest, tokens_on
from selfrepair_assets.measurement.engine.results import AblatedHeads, CleanFacts, ReinforcedHeads
from selfrepair_assets.measurement.heads import Head, by_layer
from selfrepair_assets.measurement.model.models import LoadedModel
from selfrepair_assets.measurement.run_spec import RunSpec

CPU_TOKENS_AT_ONCE = 2048
"""Rows x positions of one propagation on a CPU: activations that stay in its caches."""
LOGIT_TOLERANCE = 1e-3
"""Largest difference to the model's own logits, as a share of their largest, that is rounding."""

Progress = Callable[[int], None]
"""Is told how many head-tokens (heads x prediction positions) were done since it was last told."""


class EngineMismatchError(OneLineError):
    """The engine's clean logits differ from the model's: nothing must be measured with it.

    It is the project's to put right and no `InputError`. Whoever ran the model needs the line and
    no traceback all the same, and the command exits with the same code 2: nothing was measured.
    """


class Measurer:
    """One run's measurement: `clean` and `ablate` over any of its sequences.

    The values do not depend on the batch size, on which sequences are measured together, or on
    the machine, beyond rounding.
    """

    def __init__(
        self, loaded: LoadedModel, spec: RunSpec, layer_precision: Sequence[str] | None = None
    ) -> None:
        self.loaded, self.spec = loaded, spec
        self._engine = choose_engine(loaded)
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
        if self.spec.batch_size is not None:
            return self.spec.batch_size
        engine, memory = self._engine, self._free_memory()
        fits = memory // 2 // max(1, engine.bytes_per_sequence(positions))
        wanted = max(1, self.rows_at_once(positions) // max(1, self.loaded.n_heads))
        return int(max(1, min(fits, wanted)))

    def rows_at_once(self, positions: int) -> int:
        """The most `head x sequence` rows that are propagated together."""
        fits = int(self._free_memory() // 4 // max(1, self._engine.bytes_per_row(positions)))
        if self.loaded.device.type == "cpu":
            fits = min(fits, max(self.loaded.n_heads, CPU_TOKENS_AT_ONCE // positions))
        return max(1, fits)

    def clean(self, tokens: np.ndarray, progress: Progress | None = None) -> CleanFacts:
        """The clean facts of `tokens` [sequence pos], on the CPU; see `CleanFacts` for shapes."""
        parts, size = [], self.batch_size(tokens.shape[1])
        for start in range(0, len(tokens), size):
            batch = self._tensor(tokens[start : start + size])
            parts.append(self._engine.clean_facts(batch))
            if progress is not None:
                progress(batch.shape[0] * (batch.shape[1] - 1))
        return CleanFacts.of_batches(parts)

    def ablate(
        self, request: AblationRequest, progress: Progress | None = None
    ) -> Iterator[AblatedHeads]:
        """One answer for each ablation and layer of the request, in the host's memory."""
        gathered: dict[tuple[str, int], list[AblatedHeads]] = {}
        positions = request.tokens.shape[1]
        size = self.batch_size(positions)
        for start in range(0, len(request.tokens), size):
            batch, rows = request.in_sequences(start, start + size), self.rows_at_once(positions)
            for found in self._engine.ablate_heads(batch, self.layer_precision, rows):
                gathered.setdefault((found.ablation, found.layer), []).append(
                    found.on_host(sequences_before=start)
                )
                if progress is not None:
                    progress(found.columns["logit_change"].numel())
        for parts in gathered.values():
            yield AblatedHeads.of_batches(parts)

    def reinforce(
        self,
        tokens: np.ndarray,
        heads: Sequence[Head],
        scales: Sequence[float],
        progress: Progress | None = None,
    ) -> Iterator[ReinforcedHeads]:
        """Feed each head its own output over `tokens` [sequence pos]: one answer for each layer.

        scales: multiples of the head's output (paper: 1, 3 and 5; section 5.3).
        """
        for of_layer in by_layer(heads).values():
            parts: list[ReinforcedHeads] = []
            size = self.batch_size(tokens.shape[1])
            for start in range(0, len(tokens), size):
                batch = self._tensor(tokens[start : start + size])
                rows = self.rows_at_once(tokens.shape[1])
                found = self._engine.reinforce_heads(batch, of_layer, scales, rows)
                parts += [part.on_host() for part in found]
                if progress is not None:
                    progress(len(of_layer) * len(scales) * batch[:, 1:].numel())
            yield ReinforcedHeads.of_batches(parts)

    @property
    def sampled_heads(self) -> list[Head]:
        """The heads whose bf16 is tried before the run."""
        heads = self.spec.chosen_heads(self.loaded.n_layers, self.loaded.n_heads)
        return bf16_error.sampled_heads(heads)

    def sample_work(self, tokens: np.ndarray) -> int:
        """The head-tokens of trying bf16 on `tokens` [sequence pos], in both precisions."""
        return 2 * len(self.sampled_heads) * len(self.spec.ablations) * tokens[:, 1:].size

    def error_of_bf16(self, request: AblationRequest, progress: Progress | None = None) -> Squares:
        """Ablate as requested in fp32 and then in bf16: what bf16 costs."""

        def changes(precision: str) -> dict[tuple[str, int], np.ndarray]:
            measurer = copy(self)
            measurer.layer_precision = [precision] * self.loaded.n_layers
            results = measurer.ablate(request, progress)
            return {(r.ablation, r.layer): r.columns["logit_change"].numpy() for r in results}

        exact, fast = changes("fp32"), changes("bf16")
        return bf16_error.squares(exact, fast, request.ablations, self.loaded.n_layers)

    def _tensor(self, tokens: np.ndarray) -> Tensor:
        return tokens_on(self.loaded.device, tokens)

    def _free_memory(self) -> int:
        if self.loaded.device.type == "cuda":
            return torch.cuda.mem_get_info(self.loaded.device)[0]
        return psutil.virtual_memory().available

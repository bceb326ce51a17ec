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

from selfrepair_assets.measurement.engine import bf16_error
from selfrepair_assets.measurement.engine.bf16_error import LayerPrecision, Squares
from selfrepair_assets.measurement.engine.clean_run import CleanFacts
from selfrepair_assets.measurement.engine.engines import choose_engine
from selfrepair_assets.measurement.engine.kept_details import KeptRows
from selfrepair_assets.measurement.engine.perturbation import AblatedHeads, join
from selfrepair_assets.measurement.engine.self_reinforcement import SCALES, ReinforcedHeads
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.heads import Head, by_layer
from selfrepair_assets.measurement.model.models import LoadedModel
from selfrepair_assets.measurement.run_spec import RunSpec

CPU_TOKENS_AT_ONCE = 2048
"""Rows x positions of one propagation on a CPU: activations that stay in its caches."""
LOGIT_TOLERANCE = 1e-3
"""Largest difference to the bridge's logits, as a share of their largest, that is rounding."""

Progress = Callable[[int], None]
"""Is told how many head-tokens (heads x prediction positions) were done since it was last told."""


class EngineMismatchError(InputError):
    """The engine's clean logits differ from the model's: nothing must be measured with it.

    It is ours to put right, but whoever ran the model needs the line and no traceback.
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
        self._engine = choose_engine(loaded, spec.center_unembed)
        self.layer_precision = list(layer_precision or ["fp32"] * loaded.n_layers)

    @property
    def engine(self) -> str:
        return self._engine.name

    @property
    def has_neurons(self) -> bool:
        """Whether the last MLP layer is one of neurons; a mixture of experts is not."""
        return self._engine.has_neurons

    def check_engine(self, tokens: np.ndarray) -> float:
        """Compare clean logits with the bridge's on `tokens` [sequence pos].

        Returns:
            The largest difference, in logits.

        Raises:
            EngineMismatchError: they differ by more than rounding.
        """
        sample = self._tensor(tokens)
        with torch.inference_mode():
            ours, theirs = self._engine.logits(sample), self.loaded.bridge(sample)
            if not self.spec.center_unembed or not self.loaded.folded:
                ours = ours - ours.mean(-1, keepdim=True)
                theirs = theirs - theirs.mean(-1, keepdim=True)
            difference = (ours - theirs).abs().max().item()
            largest = theirs.abs().max().item()
        if not difference <= LOGIT_TOLERANCE * largest:
            raise EngineMismatchError(
                f"The {self.engine} engine's clean logits of '{self.loaded.name}' differ from the "
                f"model's by up to {difference:.3g} (largest logit {largest:.3g}). Nothing was "
                "measured. Please report the model's architecture: " + self.loaded.architecture
            )
        return difference

    def batch_size(self, sequence_length: int | None = None) -> int:
        """Sequences measured at once: as asked for, else what the memory at hand holds."""
        if self.spec.batch_size is not None:
            return self.spec.batch_size
        positions = sequence_length or self.spec.sequence_length
        engine, memory = self._engine, self._free_memory()
        fits = memory // 2 // max(1, engine.bytes_per_sequence(positions))
        wanted = max(1, self.rows_at_once(positions) // max(1, self.loaded.n_heads))
        return int(max(1, min(fits, wanted)))

    def rows_at_once(self, sequence_length: int | None = None) -> int:
        """The most `head x sequence` rows that are propagated together."""
        positions = sequence_length or self.spec.sequence_length
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
        z_sum = sum(part.z_sum.cpu() for part in parts)
        assert isinstance(z_sum, Tensor)
        return CleanFacts(
            logit=torch.cat([part.logit.cpu() for part in parts]),
            logit_bias=torch.cat([part.logit_bias.cpu() for part in parts]),
            ln_scale=torch.cat([part.ln_scale.cpu() for part in parts]),
            head_effects=torch.cat([part.head_effects.cpu() for part in parts], dim=2),
            mlp_effects=torch.cat([part.mlp_effects.cpu() for part in parts], dim=1),
            z_sum=z_sum,
        )

    def ablate(
        self,
        tokens: np.ndarray,
        partner_tokens: np.ndarray | None,
        mean_z: np.ndarray | None,
        heads: Sequence[Head],
        ablations: Sequence[str],
        progress: Progress | None = None,
    ) -> Iterator[tuple[str, int, list[Head], dict[str, np.ndarray]]]:
        """Ablate each head by itself over `tokens` [sequence pos].

        Yields:
            Ablation, layer, its heads, and per column float32 [head sequence pos-1].
        """
        results = self.ablate_with_details(
            tokens, partner_tokens, mean_z, heads, ablations, progress=progress
        )
        for found in results:
            columns = {name: column.numpy() for name, column in found.columns.items()}
            yield found.ablation, found.heads[0].layer, found.heads, columns

    def ablate_with_details(
        self,
        tokens: np.ndarray,
        partner_tokens: np.ndarray | None,
        mean_z: np.ndarray | None,
        heads: Sequence[Head],
        ablations: Sequence[str],
        kept: KeptRows | None = None,
        all_neurons: bool = False,
        progress: Progress | None = None,
    ) -> Iterator[AblatedHeads]:
        """As `ablate`, with the details of the `kept` rows; one result per ablation and layer."""
        gathered: dict[tuple[str, int], list[AblatedHeads]] = {}
        size = self.batch_size(tokens.shape[1])
        mean = None if mean_z is None else torch.from_numpy(mean_z).to(self.loaded.device)
        for start in range(0, len(tokens), size):
            some = slice(start, start + size)
            partners = None if partner_tokens is None else self._tensor(partner_tokens[some])
            results = self._engine.ablate_heads(
                self._tensor(tokens[some]),
                partner_tokens=partners,
                mean_z=mean,
                heads=heads,
                ablations=ablations,
                layer_precision=self.layer_precision,
                rows_at_once=self.rows_at_once(tokens.shape[1]),
                kept=None if kept is None else kept.in_sequences(start, start + size),
                all_neurons=all_neurons,
            )
            for found in results:
                gathered.setdefault((found.ablation, found.heads[0].layer), []).append(
                    found.on_host(sequences_before=start)
                )
                if progress is not None:
                    progress(found.columns["logit_change"].numel())
        for parts in gathered.values():
            yield join(parts, parts[0].heads, dim=1)

    def reinforce(
        self,
        tokens: np.ndarray,
        heads: Sequence[Head],
        scales: Sequence[float] = SCALES,
        progress: Progress | None = None,
    ) -> Iterator[ReinforcedHeads]:
        """Feed each head its own output over `tokens` [sequence pos]; one result per layer."""
        for of_layer in by_layer(heads).values():
            parts: list[ReinforcedHeads] = []
            size = self.batch_size(tokens.shape[1])
            for start in range(0, len(tokens), size):
                batch = self._tensor(tokens[start : start + size])
                rows = self.rows_at_once(tokens.shape[1])
                parts += self._engine.reinforce_heads(batch, of_layer, scales, rows)
                if progress is not None:
                    progress(len(of_layer) * len(scales) * batch[:, 1:].numel())
            yield ReinforcedHeads(
                of_layer,
                torch.cat([part.direct_effect for part in parts], 1).cpu(),
                torch.cat([part.direct_effect_after for part in parts], 2).cpu(),
                torch.cat([part.ln_scale_after for part in parts], 2).cpu(),
            )

    def choose_precision(
        self, tokens: np.ndarray, mean_z: np.ndarray | None = None
    ) -> LayerPrecision:
        """The precision of each layer's heads, from bf16's error on `tokens` [sequence pos]."""
        if not self.may_take_bf16:
            return LayerPrecision.fp32(self.loaded.n_layers)
        return bf16_error.chosen(self.sampled_error(tokens, np.roll(tokens, 1, axis=0), mean_z))

    @property
    def may_take_bf16(self) -> bool:
        return self.spec.precision == "bf16" and self.engine == "perturbation"

    def sampled_error(
        self,
        tokens: np.ndarray,
        partner_tokens: np.ndarray,
        mean_z: np.ndarray | None = None,
        progress: Progress | None = None,
    ) -> Squares:
        """`error_of_bf16` of some heads of each layer."""
        return self.error_of_bf16(tokens, partner_tokens, mean_z, self._sample, progress)

    def sample_work(self, tokens: np.ndarray) -> int:
        """The head-tokens that `sampled_error` measures."""
        return 2 * len(self._sample) * len(self.spec.ablations) * tokens[:, 1:].size

    @property
    def _sample(self) -> list[Head]:
        heads = self.spec.chosen_heads(self.loaded.n_layers, self.loaded.n_heads)
        return bf16_error.sampled_heads(heads)

    def error_of_bf16(
        self,
        tokens: np.ndarray,
        partner_tokens: np.ndarray,
        mean_z: np.ndarray | None,
        heads: Sequence[Head],
        progress: Progress | None = None,
    ) -> Squares:
        """Ablate `heads` in fp32 and in bf16 over `tokens` [sequence pos]: what bf16 costs."""
        ablations = [a for a in self.spec.ablations if a != "mean" or mean_z is not None]

        def changes(precision: str) -> dict[tuple[str, int], np.ndarray]:
            measurer = copy(self)
            measurer.layer_precision = [precision] * self.loaded.n_layers
            results = measurer.ablate(tokens, partner_tokens, mean_z, heads, ablations, progress)
            return {(a, layer): columns["logit_change"] for a, layer, _, columns in results}

        exact, fast = changes("fp32"), changes("bf16")
        return bf16_error.squares(exact, fast, self.spec.ablations, self.loaded.n_layers)

    def _tensor(self, tokens: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64)).to(self.loaded.device)

    def _free_memory(self) -> int:
        if self.loaded.device.type == "cuda":
            return torch.cuda.mem_get_info(self.loaded.device)[0]
        return psutil.virtual_memory().available

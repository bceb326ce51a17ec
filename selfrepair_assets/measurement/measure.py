"""Measure a run: which engine, at which precision, how much at once, batch after batch.

The one door to the numerical core for everything outside of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import psutil
import torch
from torch import Tensor

from selfrepair_assets.measurement.clean_run import CleanFacts
from selfrepair_assets.measurement.engine import choose_engine
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.kept_details import KeptRows
from selfrepair_assets.measurement.models import LoadedModel
from selfrepair_assets.measurement.perturbation import AblatedHeads, join
from selfrepair_assets.measurement.run_spec import Head, RunSpec, by_layer
from selfrepair_assets.measurement.self_reinforcement import SCALES, ReinforcedHeads

BF16_ERROR_BOUND = 1e-2
"""Largest relative error of `logit_change` on the sample at which a layer is measured in bf16."""
HEADS_IN_SAMPLE = 3
"""Heads of each layer whose bf16 error is measured."""
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
        self,
        tokens: np.ndarray,
        mean_z: np.ndarray | None = None,
        progress: Progress | None = None,
    ) -> tuple[list[str], list[float | None]]:
        """The precision of each layer's heads, from an error measured on `tokens` [sequence pos].

        With `precision="bf16"`, some heads of each layer are ablated in fp32 and in bf16 (each
        sequence's partner is the next one); where `||error|| / ||logit_change||`, the worst over
        the run's ablations, is above `BF16_ERROR_BOUND`, the layer is measured in fp32.

        Returns:
            Per layer: `fp32` or `bf16`, and the bf16 error that was measured (None: not asked).
        """
        n_layers = self.loaded.n_layers
        precision: list[str] = ["fp32"] * n_layers
        errors: list[float | None] = [None] * n_layers
        if self.spec.precision == "fp32" or self.engine != "perturbation":
            return precision, errors
        chosen = by_layer(self.spec.chosen_heads(n_layers, self.loaded.n_heads))
        sample = [
            h for heads in chosen.values() for h in heads[:: -(-len(heads) // HEADS_IN_SAMPLE)]
        ]
        exact, fast = (
            self._with_precision([p] * n_layers)._changes(tokens, mean_z, sample, progress)
            for p in ("fp32", "bf16")
        )
        for (ablation, layer), change in exact.items():
            error = _relative_error(fast[ablation, layer], change)
            errors[layer] = max(errors[layer] or 0.0, error)
        for layer, worst in enumerate(errors):
            if worst is not None and worst <= BF16_ERROR_BOUND:
                precision[layer] = "bf16"
        return precision, errors

    def precision_work(self, tokens: np.ndarray) -> int:
        """The most head-tokens that `choose_precision` may measure."""
        heads = min(HEADS_IN_SAMPLE, self.loaded.n_heads) * self.loaded.n_layers
        return 2 * heads * len(self.spec.ablations) * tokens[:, 1:].size

    def _with_precision(self, layer_precision: list[str]) -> Measurer:
        copy = object.__new__(Measurer)
        copy.__dict__.update(self.__dict__, layer_precision=layer_precision)
        return copy

    def _changes(
        self,
        tokens: np.ndarray,
        mean_z: np.ndarray | None,
        heads: list[Head],
        progress: Progress | None,
    ) -> dict[tuple[str, int], np.ndarray]:
        """`logit_change` by ablation and layer; each sequence's partner is the one before it."""
        ablations = [a for a in self.spec.ablations if a != "mean" or mean_z is not None]
        partners = np.roll(tokens, 1, axis=0)
        results = self.ablate(tokens, partners, mean_z, heads, ablations or ["resample"], progress)
        return {(ablation, layer): c["logit_change"] for ablation, layer, _, c in results}

    def _tensor(self, tokens: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64)).to(self.loaded.device)

    def _free_memory(self) -> int:
        if self.loaded.device.type == "cuda":
            return torch.cuda.mem_get_info(self.loaded.device)[0]
        return psutil.virtual_memory().available


def _relative_error(fast: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(fast - exact)) / max(float(np.linalg.norm(exact)), 1e-30)

"""Measure a run: which engine, at which precision, how much at once, batch after batch.

The one door to the numerical core for everything outside of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import psutil
import torch
from torch import Tensor

from selfrepair_assets.measurement import clean_run, perturbation
from selfrepair_assets.measurement.clean_run import CleanFacts
from selfrepair_assets.measurement.folded_model import (
    FoldedModel,
    UnknownArchitectureError,
    fold,
)
from selfrepair_assets.measurement.hooked import HookedEngine
from selfrepair_assets.measurement.models import LoadedModel
from selfrepair_assets.measurement.perturbation import ABLATION_COLUMNS, AblatedHeads
from selfrepair_assets.measurement.run_spec import Head, RunSpec

logger = logging.getLogger(__name__)

BF16_ERROR_BOUND = 1e-2
"""Largest relative error of `logit_change` on the sample at which a layer is measured in bf16."""
CPU_TOKENS_AT_ONCE = 2048
"""Rows x positions of one propagation on a CPU: activations that stay in its caches."""
LOGIT_TOLERANCE = 1e-3
"""Largest difference to the bridge's logits, as a share of their largest, that is rounding."""

Progress = Callable[[int], None]
"""Is told how many head-tokens (heads x prediction positions) were done since it was last told."""


class EngineMismatchError(RuntimeError):
    """The engine's clean logits differ from the model's: nothing must be measured with it."""


class Engine(Protocol):
    """What can run a model clean and with heads ablated."""

    name: str

    def logits(self, tokens: Tensor) -> Tensor: ...

    def clean_facts(self, tokens: Tensor) -> CleanFacts: ...

    def ablate_heads(
        self,
        tokens: Tensor,
        *,
        partner_tokens: Tensor | None,
        mean_z: Tensor | None,
        heads: Sequence[Head],
        ablations: Sequence[str],
        layer_precision: Sequence[str],
        rows_at_once: int,
    ) -> Iterator[AblatedHeads]: ...

    def bytes_per_sequence(self, positions: int) -> int: ...

    def bytes_per_row(self, positions: int) -> int: ...


class PerturbationEngine:
    """`perturbation.py` and `clean_run.py` for one folded model."""

    name = "perturbation"

    def __init__(self, model: FoldedModel) -> None:
        self.model = model

    def logits(self, tokens: Tensor) -> Tensor:
        return clean_run.logits(self.model, tokens)

    def clean_facts(self, tokens: Tensor) -> CleanFacts:
        return clean_run.clean_facts(self.model, tokens)

    def ablate_heads(self, tokens: Tensor, **choices: object) -> Iterator[AblatedHeads]:
        return perturbation.ablate_heads(self.model, tokens, **choices)  # type: ignore[arg-type]

    def bytes_per_sequence(self, positions: int) -> int:
        """The cached clean run of one sequence and its partner's `z`."""
        m, block = self.model, self.model.blocks[0]
        width = 3 * m.d_model + len(block.qkv.weight) + 2 * m.n_heads * m.d_head
        return 4 * positions * m.n_layers * (width + len(block.mlp_in.weight) + m.d_mlp)

    def bytes_per_row(self, positions: int) -> int:
        """What one head of one sequence needs at the widest point of a layer."""
        m, block = self.model, self.model.blocks[0]
        return 4 * positions * (
            6 * m.d_model + 4 * len(block.qkv.weight) + 3 * len(block.mlp_in.weight)
        )  # fmt: skip


class Measurer:
    """One run's measurement: `clean` and `ablate` over any of its sequences.

    The values do not depend on the batch size, on which sequences are measured together, or on
    the machine, beyond rounding.
    """

    def __init__(
        self, loaded: LoadedModel, spec: RunSpec, layer_precision: Sequence[str] | None = None
    ) -> None:
        self.loaded, self.spec = loaded, spec
        self._engine = _choose_engine(loaded, spec.center_unembed)
        self.layer_precision = list(layer_precision or ["fp32"] * loaded.n_layers)

    @property
    def engine(self) -> str:
        return self._engine.name

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
            )
            for result in results:
                key = (result.ablation, result.heads[0].layer)
                gathered.setdefault(key, []).append(result)
                if progress is not None:
                    progress(result.columns["logit_change"].numel())
        for (ablation, layer), results_of_layer in gathered.items():
            yield ablation, layer, results_of_layer[0].heads, {
                name: torch.cat([part.columns[name] for part in results_of_layer], 1).cpu().numpy()
                for name in ABLATION_COLUMNS
            }  # fmt: skip

    def choose_precision(
        self, tokens: np.ndarray, mean_z: np.ndarray | None = None, heads_of_layer: int = 4
    ) -> tuple[list[str], list[float | None]]:
        """The precision of each layer's heads, from an error measured on `tokens` [sequence pos].

        With `precision="bf16"`, some heads of each layer are ablated in fp32 and in bf16 (each
        sequence's partner is the next one); where `||error|| / ||logit_change||`, the worst over
        the run's ablations, is above `BF16_ERROR_BOUND`, the layer is measured in fp32.

        Returns:
            Per layer: `fp32` or `bf16`, and the bf16 error that was measured (None: not asked).
        """
        n_layers = self.loaded.n_layers
        if self.spec.precision == "fp32" or self.engine != "perturbation":
            return ["fp32"] * n_layers, [None] * n_layers
        partners = np.roll(tokens, 1, axis=0)
        precision, errors = ["fp32"] * n_layers, [None] * n_layers  # type: list[str], list[float | None]
        chosen = self.spec.chosen_heads(n_layers, self.loaded.n_heads)
        for layer in sorted({head.layer for head in chosen}):
            heads = [head for head in chosen if head.layer == layer]
            sample = heads[:: -(-len(heads) // heads_of_layer)]
            changes = {
                p: Measurer._with_precision(self, [p] * n_layers)._changes(tokens, partners, mean_z, sample)
                for p in ("fp32", "bf16")
            }
            errors[layer] = max(
                float(np.linalg.norm(bf16 - fp32) / max(np.linalg.norm(fp32), 1e-30))
                for fp32, bf16 in zip(changes["fp32"], changes["bf16"])
            )
            if errors[layer] <= BF16_ERROR_BOUND:  # type: ignore[operator]
                precision[layer] = "bf16"
        return precision, errors

    def _with_precision(self, layer_precision: list[str]) -> Measurer:
        copy = object.__new__(Measurer)
        copy.__dict__.update(self.__dict__, layer_precision=layer_precision)
        return copy

    def _changes(
        self, tokens: np.ndarray, partners: np.ndarray, mean_z: np.ndarray | None, heads: list[Head]
    ) -> list[np.ndarray]:
        ablations = [a for a in self.spec.ablations if a != "mean" or mean_z is not None]
        results = self.ablate(tokens, partners, mean_z, heads, ablations or ["resample"])
        return [columns["logit_change"] for _, _, _, columns in results]

    def _tensor(self, tokens: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64)).to(self.loaded.device)

    def _free_memory(self) -> int:
        if self.loaded.device.type == "cuda":
            return torch.cuda.mem_get_info(self.loaded.device)[0]
        return psutil.virtual_memory().available


def _choose_engine(loaded: LoadedModel, center_unembed: bool) -> Engine:
    if loaded.folded:
        try:
            return PerturbationEngine(
                fold(loaded.bridge, parallel_attention=loaded.parallel_attention)
            )
        except UnknownArchitectureError as error:
            logger.warning(
                "The perturbation engine does not know %s. Measuring with hooked forward passes, "
                "which is slow but general.",
                error,
            )
    hooked = HookedEngine(loaded)
    if center_unembed and not loaded.folded:
        hooked.center_unembed()
    return hooked

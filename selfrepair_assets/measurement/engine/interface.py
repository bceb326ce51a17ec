"""What an engine is asked: to run a model clean, with heads ablated, or with heads reinforced.

`results` has the answers. `perturbation` and `hooked` are the two engines; neither knows the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from selfrepair_assets.measurement.ablations import ABLATIONS, Ablation, LayerZ
from selfrepair_assets.measurement.engine.results import CleanFacts, KeptRows, MeasuredHeads
from selfrepair_assets.measurement.heads import Head, by_layer


def on_device(host: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host's memory on the device, whose work so far is not waited for.

    To CUDA only pinned memory is copied without waiting. Torch keeps it until the copy is done.
    """
    if device.type == "cuda" and torch.cuda.is_available():
        host = host.pin_memory()
    return host.to(device, non_blocking=True)


def tokens_on(device: torch.device, tokens: np.ndarray) -> Tensor:
    """Token ids [sequence pos] of any integer type as an int64 tensor on the device."""
    return on_device(torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64)), device)


@dataclass(frozen=True)
class AblationRequest:
    """Ablate each head by itself, at every position of all sequences, once for each kind.

    Arrays are the host's, so that they are cut into batches before the device sees them.

    Attributes:
        tokens: ids [sequence pos].
        heads: of any layers.
        ablations: the kinds, by name.
        partner_tokens: the sequences whose `z` replaces, [sequence pos]; where a kind needs them.
        mean_z: the run's mean `z`, [layer head d_head]; where a kind needs it.
        kept: the rows whose details are wanted (see `kept_details`); None: no details.
        all_neurons: of these rows every neuron, instead of the most repairing and a summary.
        answered: pairs of ablation and layer that are not asked for any more.

    Raises:
        ValueError: an ablation needs what is not given.
    """

    tokens: np.ndarray
    heads: Sequence[Head]
    ablations: Sequence[str]
    partner_tokens: np.ndarray | None = None
    mean_z: np.ndarray | None = None
    kept: KeptRows | None = None
    all_neurons: bool = False
    answered: frozenset[tuple[str, int]] = frozenset()

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind.needs is not None and getattr(self, kind.needs) is None:
                raise ValueError(f"{kind.name} ablation needs {kind.needs}")

    @property
    def kinds(self) -> list[Ablation]:
        return [ABLATIONS[name] for name in self.ablations]

    @property
    def parts(self) -> list[tuple[Ablation, list[Head]]]:
        """Each kind with the heads of each layer: what is answered together, in that order."""
        return [
            (kind, heads)
            for kind in self.kinds
            for layer, heads in by_layer(self.heads).items()
            if (kind.name, layer) not in self.answered
        ]

    def in_sequences(self, start: int, stop: int) -> AblationRequest:
        """The same of sequences `start` to `stop - 1` alone."""
        partners = self.partner_tokens
        return replace(
            self,
            tokens=self.tokens[start:stop],
            partner_tokens=None if partners is None else partners[start:stop],
            kept=None if self.kept is None else self.kept.in_sequences(start, stop),
        )

    def layer_z(self, layer: int, own: Tensor, partner: Tensor | None) -> LayerZ:
        """What a replacement of the layer's `z` may be made of, on the device of `own`."""
        mean = None
        if self.mean_z is not None:
            mean = on_device(torch.from_numpy(self.mean_z[layer]).float(), own.device)
        return LayerZ(own, partner, mean)


class Engine(Protocol):
    """One model, run clean and with heads ablated or reinforced.

    Answers are on the device, which is not waited for before they are given.

    `tokens` are int64 (batch, pos) on the model's device. `rows_at_once` is the most rows that are
    run together: `head x batch`, and `scale x head x batch` where heads are reinforced.
    """

    name: str

    @property
    def has_neurons(self) -> bool:
        """Whether the last MLP layer's output is its neurons times one matrix, plus a bias."""

    def logits(self, tokens: Tensor) -> Tensor:
        """All logits, (batch, pos, d_vocab): only to compare with the model's own."""

    def clean_facts(self, tokens: Tensor) -> CleanFacts:
        """Logits, scales and all direct effects of one forward pass."""

    def ablate_heads(
        self, request: AblationRequest, layer_precision: Sequence[str], rows_at_once: int
    ) -> Iterator[MeasuredHeads]:
        """One answer for each of the request's `parts`.

        layer_precision: `fp32` or a fast one for the heads of each layer; an engine may take
            fp32.
        """

    def reinforce_heads(
        self, tokens: Tensor, heads: Sequence[Head], scales: Sequence[float], rows_at_once: int
    ) -> Iterator[MeasuredHeads]:
        """One answer for each layer that has heads among `heads`."""

    def bytes_per_sequence(self, positions: int) -> int:
        """Device memory that stays taken for one sequence while its heads are ablated."""

    def bytes_per_row(self, positions: int) -> int:
        """Device memory that one row needs at the widest point of a layer."""

"""What an engine answers: the clean run's facts, and the ablations and reinforcements of heads.

Shapes: `n_pred = pos - 1` is the number of prediction positions of a sequence; all columns are
float32 but `z_sum`, and all effects are in logits (paper: section 2.1). How to join the answers of
several batches stands with the shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from selfrepair_assets.measurement.heads import Head

ABLATION_COLUMNS = (
    "direct_effect",
    "direct_effect_ablated",
    "logit_change",
    "ln_scale_ablated",
    "self_repair_from_heads",
    "self_repair_from_mlps",
    "self_repair_from_last_mlp",
    "self_repair_from_post_norm",
)


@dataclass(frozen=True)
class KeptRows:
    """Rows whose details are wanted, one ablation of a head at one prediction position each.

    Each array is (row), int64, on the host. `sequence` counts within the tokens that are
    measured together.
    """

    layer: np.ndarray
    head: np.ndarray
    sequence: np.ndarray
    position: np.ndarray

    def __len__(self) -> int:
        return len(self.layer)

    def where(self, mask: np.ndarray) -> KeptRows:
        return KeptRows(self.layer[mask], self.head[mask], self.sequence[mask], self.position[mask])

    @classmethod
    def at(cls, places: Mapping[str, np.ndarray]) -> KeptRows:
        """From columns layer, head, sequence, position."""
        names = ("layer", "head", "sequence", "position")
        return cls(*(np.asarray(places[name], dtype=np.int64) for name in names))

    def of_heads(self, heads: Sequence[Head]) -> KeptRows:
        """The rows of some heads."""
        wanted = [head.layer * 100_000 + head.head for head in heads]
        return self.where(np.isin(self.layer * 100_000 + self.head, wanted))

    def renumbered(self) -> tuple[np.ndarray, KeptRows]:
        """The sequences that have a row, and the rows with these counted from 0."""
        here, sequence = np.unique(self.sequence, return_inverse=True)
        return here, KeptRows(self.layer, self.head, sequence, self.position)

    @classmethod
    def joined(cls, parts: Sequence[KeptRows]) -> KeptRows:
        names = ("layer", "head", "sequence", "position")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def after(self, sequences: int) -> KeptRows:
        """The same rows where `sequences` others come before their own."""
        return KeptRows(self.layer, self.head, self.sequence + sequences, self.position)

    def in_sequences(self, start: int, stop: int) -> KeptRows:
        """The rows of sequences `start` to `stop - 1`, counted from `start`."""
        return self.where((self.sequence >= start) & (self.sequence < stop)).after(-start)


@dataclass(frozen=True)
class CleanFacts:
    """What the warehouse keeps of the clean run."""

    logit: Tensor  # batch n_pred
    logit_bias: Tensor  # batch n_pred: the part of logit that no component writes
    ln_scale: Tensor  # batch n_pred: the final norm's S, in residual units
    head_effects: Tensor  # layer head batch n_pred
    mlp_effects: Tensor  # layer batch n_pred
    z_sum: Tensor  # layer head d_head, float64: over all batch * pos positions, for mean ablation

    @classmethod
    def of_batches(cls, parts: Sequence[CleanFacts]) -> CleanFacts:
        """The facts of several batches, along dimension -2, as one in the host's memory."""
        names = [field.name for field in fields(cls) if field.name != "z_sum"]
        joined = {n: torch.cat([getattr(p, n).cpu() for p in parts], dim=-2) for n in names}
        zero = torch.zeros((), dtype=torch.float64)
        return cls(**joined, z_sum=sum((part.z_sum.cpu() for part in parts), start=zero))


@dataclass(frozen=True)
class MeasuredHeads:
    """One kind of ablation, or feeding, of some heads of one layer, each head by itself.

    Attributes:
        ablation: the kind; `fed` where each head was fed its own output (paper: section 5.3).
        columns: of an ablation ABLATION_COLUMNS, each (head, batch, n_pred). Of fed heads
            `direct_effect`, of the same shape, and, each (scale, head, batch, n_pred),
            `direct_effect_after` with the clean S, and `ln_scale_after`, the changed run's S.
    """

    ablation: str
    heads: list[Head]
    columns: dict[str, Tensor]
    kept: KeptRows | None = None  # the rows whose details were asked for; None: none were
    details: dict[str, Tensor] | None = None  # of these, each (row, ...)

    @property
    def layer(self) -> int:
        return self.heads[0].layer

    @property
    def device(self) -> torch.device:
        return next(iter(self.columns.values())).device

    def to_host(self) -> MeasuredHeads:
        """Copied to the host's memory, where `Arriving` says when it is there."""
        return replace(
            self,
            columns={name: _to_host(column) for name, column in self.columns.items()},
            details=self.details and {n: _to_host(column) for n, column in self.details.items()},
        )

    @classmethod
    def of_heads(cls, parts: Sequence[MeasuredHeads]) -> MeasuredHeads:
        """The same of some heads and of others of the same layer as one."""
        return cls._joined(parts, [head for part in parts for head in part.heads], dim=-3)

    @classmethod
    def of_batches(cls, parts: Sequence[MeasuredHeads]) -> MeasuredHeads:
        """The same heads over several batches of sequences as one.

        Each batch counts its sequences from 0; together they are counted on.
        """
        before, counted = 0, []
        for part in parts:
            kept = None if part.kept is None else part.kept.after(before)
            counted.append(replace(part, kept=kept))
            before += next(iter(part.columns.values())).shape[-2]
        return cls._joined(counted, parts[0].heads, dim=-2)

    @classmethod
    def _joined(cls, parts: Sequence[MeasuredHeads], heads: list[Head], dim: int) -> MeasuredHeads:
        if len(parts) == 1:
            return parts[0]
        columns = {n: torch.cat([p.columns[n] for p in parts], dim) for n in parts[0].columns}
        kept = [part.kept for part in parts if part.kept is not None]  # which may be no rows
        details = [part.details for part in parts if part.details is not None]
        return cls(
            parts[0].ablation,
            heads,
            columns,
            KeptRows.joined(kept) if kept else None,
            {n: torch.cat([d[n] for d in details]) for n in details[0]} if details else None,
        )


class Arriving:
    """An answer on its way to the host's memory: the device goes on meanwhile.

    From CUDA it is copied into pinned memory behind the work that makes it, and an event behind
    the copy says when it is there. Other devices give it at once.
    """

    def __init__(self, answer: MeasuredHeads) -> None:
        self._answer = answer.to_host()
        self._copied: torch.cuda.Event | None = None
        if answer.device.type == "cuda":
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(answer.device))

    def arrived(self) -> MeasuredHeads:
        """The answer, waited for until it is there."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._answer


def _to_host(tensor: Tensor) -> Tensor:
    return tensor.to("cpu", non_blocking=tensor.device.type == "cuda")

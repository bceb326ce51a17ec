"""Two engines, one protocol: perturbation where the architecture is known, else hooked."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor

from selfrepair_assets.measurement.engine import clean_run, perturbation, self_reinforcement
from selfrepair_assets.measurement.engine.clean_run import CleanFacts
from selfrepair_assets.measurement.engine.hooked import HookedEngine
from selfrepair_assets.measurement.engine.kept_details import KeptRows
from selfrepair_assets.measurement.engine.perturbation import AblatedHeads
from selfrepair_assets.measurement.engine.self_reinforcement import ReinforcedHeads
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model.folded_model import (
    FoldedModel,
    UnknownArchitectureError,
    fold,
)
from selfrepair_assets.measurement.model.models import LoadedModel

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """What can run a model clean and with heads ablated."""

    name: str

    @property
    def has_neurons(self) -> bool: ...

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
        kept: KeptRows | None = None,
        all_neurons: bool = False,
    ) -> Iterator[AblatedHeads]: ...

    def reinforce_heads(
        self, tokens: Tensor, heads: Sequence[Head], scales: Sequence[float], rows_at_once: int
    ) -> Iterator[ReinforcedHeads]: ...

    def bytes_per_sequence(self, positions: int) -> int: ...

    def bytes_per_row(self, positions: int) -> int: ...


class PerturbationEngine:
    """`perturbation.py` and `clean_run.py` for one folded model."""

    name = "perturbation"
    has_neurons = True

    def __init__(self, model: FoldedModel) -> None:
        self.model = model

    def logits(self, tokens: Tensor) -> Tensor:
        return clean_run.logits(self.model, tokens)

    def clean_facts(self, tokens: Tensor) -> CleanFacts:
        return clean_run.clean_facts(self.model, tokens)

    def ablate_heads(self, tokens: Tensor, **choices: object) -> Iterator[AblatedHeads]:
        return perturbation.ablate_heads(self.model, tokens, **choices)  # type: ignore[arg-type]

    def reinforce_heads(self, tokens: Tensor, *choices: object) -> Iterator[ReinforcedHeads]:
        return self_reinforcement.reinforce_heads(self.model, tokens, *choices)  # type: ignore[arg-type]

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


def choose_engine(loaded: LoadedModel, center_unembed: bool) -> Engine:
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

"""What some families do to their logits, and to what is written to the stream, outside of weights.

Logits here are those before a cap, `cap * tanh(logit / cap)`, with a constant factor in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class ConstantScales:
    """What some families multiply by, outside of their weights."""

    residual: float = 1.0  # whatever is added to the residual stream
    logits: float = 1.0

    @classmethod
    def of(cls, config: Any) -> ConstantScales:
        if config.model_type.startswith("granite"):
            return cls(config.residual_multiplier, 1 / config.logits_scaling)
        if config.model_type.startswith("cohere"):
            return cls(logits=config.logit_scale)
        return cls()


def uncapped(logits: Tensor, cap: float) -> Tensor:
    """The logits before `cap tanh(logit / cap)`, as far as rounding has left them."""
    share = (logits.double() / cap).clamp(-1 + 1e-7, 1 - 1e-7)
    return (cap * share.atanh()).to(logits.dtype)

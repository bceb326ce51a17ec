"""Steps whose element-wise parts are fused by `torch.compile`, for long runs in a fast precision.

Between two products a plain step reads and writes activations some eight times, which takes longer
than the products where a CPU or a GPU has matrix units. What is compiled is the plain step itself
(`change.py`), so there is one source. It needs a C++ compiler, and Triton on a GPU; where there is
none, or what it makes does not agree with the plain step, the plain one is taken, and the log says
so.

Only fast precisions are fused: fp32, by which they are chosen and watched, is always plain, and
checks them.
"""

from __future__ import annotations

import logging
import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from selfrepair_assets.measurement.engine.change import PLAIN, CleanBlock, Followed, Step, Steps
from selfrepair_assets.measurement.engine.fast_error import ERROR_BOUND
from selfrepair_assets.measurement.model.folded_model import FoldedModel
from selfrepair_assets.measurement.products import compiler
from selfrepair_assets.measurement.run_spec import RunSpec

LEAST_PRODUCTS = {"cpu": 3e13, "cuda": 5e15}
"""Multiplications and additions of a run from which on fusing is worth its seconds of compiling, by
the kind of device; others are not fused."""
LEAST_ROWS = 4
"""Rows of a change that a fused step follows: each small number of them would be compiled by
itself, and gets copies of its first row, so that what is watched is what is measured."""
TOLERANCE = {
    **{precision: bound / 2 for precision, bound in ERROR_BOUND.items()},
    "bf16_fp32": ERROR_BOUND["bf16"] / 2,
}
"""Largest relative difference to the plain step that is rounding in another order."""

logger = logging.getLogger(__name__)


def is_worth(spec: RunSpec, model: FoldedModel, n_layers: int | None = None) -> bool:
    """Whether a run gains more by fused steps than their compiling takes.

    n_layers: of the whole model, where `model` is its first layers.
    """
    n_layers = n_layers or model.n_layers
    after = sum(n_layers - head.layer for head in spec.chosen_heads(n_layers, model.n_heads))
    weights = sum(linear.weight.numel() for linear in model.blocks[0].maps)
    head_tokens = after * spec.n_sequences * spec.sequence_length * len(spec.ablations)
    least = LEAST_PRODUCTS.get(model.device.type, math.inf)
    return spec.precision != "fp32" and 2.0 * weights * head_tokens > least


@cache
def fused_steps() -> Steps:
    """The process' own: what is compiled serves all models of one shape."""
    compiler.use_own_cache()
    return Steps(FusedStep(PLAIN.mid), FusedStep(PLAIN.block))


class FusedStep:
    """A plain step, compiled when it is first taken in a fast precision, and compared with it.

    For each shape and each sort of block that is new it is compiled again, and compared again.
    """

    def __init__(self, plain: Step) -> None:
        self.plain = plain
        self._fused: Any = torch.compile(plain)
        self._compared: set[tuple[object, ...]] = set()

    def __call__(self, at: CleanBlock, delta: Tensor, precision: str, neurons: bool) -> Followed:
        n = len(delta)
        if self._fused is None or precision == "fp32" or neurons:  # these are rare
            return self.plain(at, delta, precision, neurons)
        if n < LEAST_ROWS:
            more = delta[:1].expand(LEAST_ROWS - n, *delta.shape[1:])
            return self(at, torch.cat([delta, more]), precision, neurons).first(n)
        at.block.prepare(precision)
        torch._dynamo.maybe_mark_dynamic(delta, 0)
        sort = (precision, id(at.model), delta.shape[1:], at.block.window, at.layer.rotary is None)
        if sort in self._compared:
            return self._fused(at, delta, precision, neurons)
        plain = self.plain(at, delta.clone(), precision, neurons)
        try:
            with compiler.quiet():
                followed = self._fused(at, delta, precision, neurons)
        except (torch._dynamo.exc.TorchDynamoException, OSError, ImportError) as error:
            return self._without(f"they cannot be compiled {compiler.reason(error)}", plain)
        difference = _difference(followed, plain)
        if not difference <= TOLERANCE[precision]:
            return self._without(f"what was compiled differs by {difference:.2g}", plain)
        self._compared.add(sort)
        return followed

    def _without(self, reason: str, plain: Followed) -> Followed:
        """From now on the plain step alone."""
        logger.warning(f"the run goes on without fused steps, and is slower: {reason}")
        self._fused = None
        return plain


def _difference(fused: Followed, plain: Followed) -> float:
    """The largest relative one of all that a step gives; NaN where one of them is."""
    found = [fused.resid_post.new_zeros(())]
    for ours, theirs in zip(fused.parts, plain.parts, strict=True):
        if ours is not None and theirs is not None:
            difference = torch.linalg.vector_norm(ours - theirs)
            if difference != 0:  # NaN neither
                found.append(difference / torch.linalg.vector_norm(theirs))
    return torch.stack(found).max().item()

"""Linear maps of activations (fp32) and of *changes* in activations (fp32 or bf16).

A bf16 product of a change has an error relative to the change, not to the activation: that is
what makes the matrix units of bf16 usable where plain half precision is noise.
"""

from __future__ import annotations

from functools import cached_property

from torch import Tensor
from torch.nn.functional import linear


class LinearMap:
    """`x -> x W' + b` on activations; `delta -> delta W'` on changes, where the bias cancels.

    `weight` has shape (out, in), `bias` (out).
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight = weight.float().contiguous()
        self.bias = bias.float().contiguous()

    @cached_property
    def _weight_bf16(self) -> Tensor:
        return self.weight.bfloat16()

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def of_change(self, delta: Tensor, precision: str) -> Tensor:
        """`delta W'` in fp32; with `precision="bf16"` the product's operands are bfloat16."""
        if precision == "bf16":
            return linear(delta.bfloat16(), self._weight_bf16).float()
        return linear(delta, self.weight)

"""Linear maps of activations (fp32) and of *changes* in activations (fp32, or faster).

A product of a change in less precision has an error relative to the change, not to the activation:
that is what makes the matrix units of bf16 usable where plain half precision is noise. TF32 has
fp32's range and ten bits of its mantissa, bf16 seven: an eighth of bf16's error. Only NVIDIA GPUs
since Ampere have it. bf16_fp32 multiplies in bf16 and keeps the sums as they are, in fp32, where
bf16 rounds them too: two thirds of its error, in one and a half times its time on a CPU.

A sequence's first positions are in fp32 always. There a model makes its massive activations
(attention sinks), on which a change can tip what is thousands of times its size: in one run a
single token of 9,000, the first after BOS, made half of a layer's error, which no sample shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import linear

FIRST_POSITIONS = 4
"""The positions of a sequence whose changes are always in fp32; 9 % of bf16's time on a CPU."""
AT_FIRST = (..., slice(FIRST_POSITIONS), slice(None))
"""Their index, of (..., pos, d)."""


FAST = {"tf32": ("tf32",), "bf16": ("bf16", "bf16_fp32")}
"""By the precision that is asked for, those that a layer may have for it: the fastest first."""


def fast_precisions(asked: str, device: torch.device) -> tuple[str, ...]:
    """Those that a layer may have on the device, the fastest first; none where fp32 is asked for.

    bf16_fp32 is oneDNN's, for CPUs.
    """
    fast = FAST.get(asked, ())
    has_all = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return fast if has_all else fast[:1]


@torch.library.custom_op("selfrepair::linear_of_bf16", mutates_args=())
def _linear_of_bf16(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`rows weight'` in fp32, of operands that oneDNN rounds to bf16 as it reads them."""
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        return linear(rows, weight)
    finally:
        matmul.fp32_precision = before


@_linear_of_bf16.register_fake
def _shape_of_linear(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return rows.new_empty((rows.shape[0], weight.shape[0]))


def has_tf32(device: torch.device) -> bool:
    """Whether the device has matrix units of TF32."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


@contextmanager
def tf32_products() -> Iterator[None]:
    """Meanwhile CUDA's products of fp32 tensors are in TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _nearest_tf32(x: Tensor) -> Tensor:
    """fp32 rounded to TF32's ten bits.

    Units may cut the other 13 off, which errs to one side: five times the error after 30 layers.
    """
    bits = x.view(torch.int32).add(1 << 12).bitwise_and_(-(1 << 13))
    return bits.view(torch.float32)


class LinearMap:
    """`x -> x W' + b` on activations; `delta -> delta W'` on changes, where the bias cancels.

    `weight` has shape (out, in), `bias` (out). In memory each input's weights lie together, as a
    product reads them: one of few rows, a sequence's first positions, takes a fifth less for it.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight = weight.float().T.contiguous().T
        self.bias = bias.float().contiguous()

    @cached_property
    def weight_bf16(self) -> Tensor:
        return self.weight.bfloat16()

    @cached_property
    def _weight_tf32(self) -> Tensor:
        return _nearest_tf32(self.weight)

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def of_change(self, delta: Tensor, precision: str) -> Tensor:
        """`delta W'` of `delta` (..., in), with operands of that precision; fp32 (..., out)."""
        if precision in ("fp32", "bf16_fp32"):
            # Laid out in one piece: one product, and not one for each row.
            rows = delta.reshape(-1, delta.shape[-1])
            product = linear if precision == "fp32" else _linear_of_bf16
            return product(rows, self.weight).unflatten(0, delta.shape[:-1])
        if precision == "tf32":
            with tf32_products():
                return linear(_nearest_tf32(delta), self._weight_tf32)
        return linear(delta.bfloat16(), self.weight_bf16).float()

    def of_change_by_position(self, delta: Tensor, precision: str) -> Tensor:
        """`of_change` of `delta` (..., pos, in), but with the first positions in fp32."""
        product = self.of_change(delta, precision)
        if precision != "fp32":
            product[AT_FIRST] = self.of_change(delta[AT_FIRST], "fp32")
        return product

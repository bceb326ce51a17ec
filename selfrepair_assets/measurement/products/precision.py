"""Linear maps of activations (fp32) and of *changes* in activations (fp32, or faster).

A product of a change in less precision has an error relative to the change, not to the activation:
that is what makes the matrix units of bf16 usable where plain half precision is noise. TF32 has
fp32's range and ten bits of its mantissa, bf16 seven: an eighth of bf16's error. Only NVIDIA GPUs
since Ampere have it. bf16_fp32 multiplies in bf16 and keeps the sums as they are, in fp32, where
bf16 rounds them too: two thirds to three quarters of its error on a CPU, nine tenths on a GPU. A
plain step on a GPU takes less time for it, a compiled one 4 % more; on a CPU a compiled one takes a
quarter more (`bf16_product.py`), and a plain one three quarters.

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

from selfrepair_assets.measurement.products import bf16_product

FIRST_POSITIONS = 4
"""A sequence's positions whose changes are always in fp32; on a CPU a sixth of a fused step."""
AT_FIRST = (..., slice(FIRST_POSITIONS), slice(None))
"""Their index, of (..., pos, d)."""


FAST = {"tf32": ("tf32",), "bf16": ("bf16", "bf16_fp32")}
"""By the precision that is asked for, those that a layer may have for it: the fastest first."""


def fast_precisions(asked: str, device: torch.device) -> tuple[str, ...]:
    """Those that a layer may have on the device, fastest first; none where fp32 is asked for."""
    fast = FAST.get(asked, ())
    if asked != "bf16":
        return fast
    if device.type == "cuda" and "dtype" in torch.ops.aten.mm.overloads():  # torch 2.8
        return fast[1:]
    has_both = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return fast if has_both else fast[:1]


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


@torch.library.custom_op("selfrepair::linear_of_tf32", mutates_args=())
def _linear_of_tf32(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`rows weight'` in fp32, of operands in fp32 that are multiplied as TF32."""
    with tf32_products():
        return linear(rows, weight)


@_linear_of_bf16.register_fake
@_linear_of_tf32.register_fake
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
        self._packed: Tensor | None = None

    @cached_property
    def weight_bf16(self) -> Tensor:
        return self.weight.bfloat16()

    @cached_property
    def _weight_tf32(self) -> Tensor:
        return _nearest_tf32(self.weight)

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def prepare(self, precision: str) -> None:
        """Rounds the weights for compiled steps in a precision, where they are not yet."""
        if precision == "tf32":
            _ = self._weight_tf32
        elif precision == "bf16" or self.weight.device.type != "cpu":
            _ = self.weight_bf16
        elif self._packed is None and bf16_product.takes(self.weight):
            self._packed = bf16_product.packed(self.weight)

    def of_change(self, delta: Tensor, precision: str) -> Tensor:
        """`delta W'` of `delta` (..., in), with operands of that precision; fp32 (..., out)."""
        if precision == "bf16":
            return linear(delta.bfloat16(), self.weight_bf16).float()
        if precision == "bf16_fp32" and (self._packed is not None or delta.device.type != "cpu"):
            rows = delta.bfloat16().reshape(-1, delta.shape[-1])
            return self._sums_of_bf16(rows).unflatten(0, delta.shape[:-1])
        # Laid out in one piece: one product, and not one for each row.
        rows = delta.reshape(-1, delta.shape[-1])
        if precision == "fp32":
            product = linear(rows, self.weight)
        elif precision == "tf32":
            product = _linear_of_tf32(_nearest_tf32(rows), self._weight_tf32)
        else:
            product = _linear_of_bf16(rows, self.weight)
        return product.unflatten(0, delta.shape[:-1])

    def _sums_of_bf16(self, rows: Tensor) -> Tensor:
        """Of bf16 rows (row, in), in fp32: by our kernel on a CPU, by cuBLAS on a GPU."""
        if self._packed is not None:
            return bf16_product.product(rows.contiguous(), self._packed, len(self.weight))
        return torch.mm(rows, self.weight_bf16.T, out_dtype=torch.float32)

    def of_change_by_position(self, delta: Tensor, precision: str) -> Tensor:
        """`of_change` of `delta` (..., pos, in), but with the first positions in fp32."""
        product = self.of_change(delta, precision)
        if precision != "fp32":
            product[AT_FIRST] = self.of_change(delta[AT_FIRST], "fp32")
        return product

"""Products of bf16 with sums in fp32 on a CPU, by a kernel of our own (`bf16_product.cpp`).

    product_of_bf16(rows, packed(weight), out) = rows weight'     rows (row, in), weight (out, in)

Torch has such a product for GPUs alone. On a CPU its own rounds the sums to bf16, and what oneDNN
makes of fp32 operands takes twice as long. Measured: `docs/measurements.md`.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from selfrepair_assets.measurement.products import compiler

SOURCE = Path(__file__).with_suffix(".cpp")
WIDTH = 64
"""Outputs of a block of weights."""
logger = logging.getLogger(__name__)


@cache
def is_compiled() -> bool:
    """Whether it can be had in this process: asked first, it compiles, once for a machine (15 s).

    Not without a C++ compiler, or where what it makes is wrong, which the log then says; nor on a
    CPU without bf16.
    """
    compiler.use_own_cache()
    try:
        from torch._inductor.codecache import CppCodeCache

        with compiler.quiet():
            CppCodeCache.load(SOURCE.read_text())
        torch.library.register_fake("selfrepair::product_of_bf16", _shape_of_product)
        return bool(torch.ops.selfrepair.has_bf16()) and _is_right()
    except Exception as error:  # whatever a compiler, a linker or a processor can raise
        logger.warning(
            "bf16's products take longer than they could: their kernel cannot be had "
            + compiler.reason(error)
        )
        return False


def _is_right() -> bool:
    """Whether a small product is what it should be."""
    with torch.inference_mode():
        weight = torch.arange(3 * WIDTH * 32).remainder(7).view(-1, 32).bfloat16()
        rows = torch.arange(5 * 32).remainder(3).view(5, 32).bfloat16()
        right = rows.float() @ weight.T.float()  # whole numbers, exact in any order
        found = product(rows, packed(weight), len(weight))
    if not torch.equal(found, right):
        raise ArithmeticError("a product of whole numbers is wrong")
    return True


def _shape_of_product(rows: Tensor, packed: Tensor, n_out: int) -> Tensor:
    return rows.new_empty((rows.shape[0], n_out), dtype=torch.float32)


def takes(weight: Tensor) -> bool:
    """Whether there is a kernel, and it takes a weight (out, in) of this shape, on this device."""
    return weight.device.type == "cpu" and weight.shape[1] % 2 == 0 and is_compiled()


def packed(weight: Tensor) -> Tensor:
    """A weight (out, in) as the kernel reads it, in bf16: (block, in, out of a block).

    The weights of two inputs lie side by side, `[block, in / 2, out, 2]`; zeros fill the last
    block.
    """
    n_out, n_in = weight.shape
    blocks = pad(weight.bfloat16(), (0, 0, 0, -n_out % WIDTH)).view(-1, WIDTH, n_in // 2, 2)
    return blocks.transpose(1, 2).reshape(-1, n_in, WIDTH)


def product(rows: Tensor, packed: Tensor, n_out: int) -> Tensor:
    """`rows weight'` in fp32 of bf16 rows (row, in), where `is_compiled`."""
    return torch.ops.selfrepair.product_of_bf16(rows, packed, n_out)

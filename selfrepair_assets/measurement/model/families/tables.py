"""Positions: rotary tables and windows, from the model's own modules and configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from selfrepair_assets.measurement.model.folded_model import Tables

SLIDING = "sliding_attention"


def rotary_tables(module: Any, *layer_type: str, pairs: bool = False) -> Tables:
    """Cosines and sines from the model's own module, so that every scaling of it is the model's.

    Args:
        module: takes anything on the right device, positions (1, pos) and perhaps a layer's type.
        pairs: it gives each number twice in a row, not all of them twice.
    """
    device = next(iter(module.buffers())).device
    probe = torch.zeros(1, 1, 1, device=device)

    @lru_cache(maxsize=4)
    def tables(n: int) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            both = module(probe, torch.arange(n, device=device)[None], *layer_type)
        half = both[0].shape[-1] // 2
        cos, sin = (t[0, :, ::2] if pairs else t[0, :, :half] for t in both)
        return cos.float().contiguous(), sin.float().contiguous()

    return tables


def tables_by_layer_type(module: Any, config: Any) -> list[Tables | None]:
    """Where each layer type has a rotary base of its own."""
    of_type = {kind: rotary_tables(module, kind) for kind in set(config.layer_types)}
    return [of_type[kind] for kind in config.layer_types]


def windows_by_layer_type(config: Any) -> list[int | None]:
    """`sliding_window` in layers of type `sliding_attention`, None in the others."""
    return [config.sliding_window if kind == SLIDING else None for kind in config.layer_types]


def bias_of_positions(build: Callable[[int], Tensor]) -> Callable[[int], Tensor]:
    """ALiBi as (head, key position), kept for the lengths that are in use."""

    @lru_cache(maxsize=4)
    def bias(n: int) -> Tensor:
        with torch.no_grad():
            return build(n).float()

    return bias

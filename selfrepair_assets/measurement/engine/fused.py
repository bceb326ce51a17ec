"""Steps whose element-wise parts are fused by `torch.compile`, for long runs in bf16 on a CPU.

Between two bf16 products a plain step reads and writes activations some eight times, which takes
longer than the products where a CPU has matrix units. What is compiled is the plain step itself
(`change.py`), so there is one source. It needs a C++ compiler; where there is none, or what it
makes does not agree with the plain step, the plain one is taken, and the log says so.

Only bf16 is fused: fp32, by which bf16 is chosen and watched, is always plain, and checks it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfrepair_assets.measurement.engine.change import PLAIN, CleanBlock, Followed, Step, Steps
from selfrepair_assets.measurement.model import bundled
from selfrepair_assets.measurement.model.folded_model import FoldedModel
from selfrepair_assets.measurement.model.precision import FAST
from selfrepair_assets.measurement.run_spec import RunSpec

LEAST_PRODUCTS = 3e13
"""Multiplications and additions of a run from which on fusing is worth its seconds of compiling."""
LEAST_ROWS = 4
"""Rows of a change that a fused step follows: each small number of them would be compiled by
itself, and gets copies of its first row, so that what is watched is what is measured."""
TOLERANCE = 5e-3
"""Largest relative difference to the plain step that is bf16's rounding, in another order."""

CACHE = "TORCHINDUCTOR_CACHE_DIR"
logger = logging.getLogger(__name__)


def is_worth(spec: RunSpec, model: FoldedModel, n_layers: int | None = None) -> bool:
    """Whether a run gains more by fused steps than their compiling takes.

    n_layers: of the whole model, where `model` is its first layers.
    """
    n_layers = n_layers or model.n_layers
    after = sum(n_layers - head.layer for head in spec.chosen_heads(n_layers, model.n_heads))
    weights = sum(linear.weight.numel() for linear in model.blocks[0].maps)
    head_tokens = after * spec.n_sequences * spec.sequence_length * len(spec.ablations)
    is_fusible = spec.precision == "bf16" and model.device.type == "cpu"
    return is_fusible and 2.0 * weights * head_tokens > LEAST_PRODUCTS


@cache
def fused_steps() -> Steps:
    """The process' own: what is compiled serves all models of one shape.

    It is kept in the user's cache: torch's default is a name in /tmp that others could take first.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # a second to import

    if os.environ.get(CACHE) in (None, os.path.abspath(default_cache_dir())):  # torch sets it too
        os.environ[CACHE] = str(bundled.cache_folder() / "fused" / _cpu())
    return Steps(FusedStep(PLAIN.mid), FusedStep(PLAIN.block))


def _cpu() -> str:
    """What the processor can do, as a folder's name: code is compiled for that."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    found = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()}-{hashlib.sha256(found.encode()).hexdigest()[:8]}"


class FusedStep:
    """A plain step, compiled when it is first taken in bf16, and compared with the plain one.

    For each shape and each sort of block that is new it is compiled again, and compared again.
    """

    def __init__(self, plain: Step) -> None:
        self.plain = plain
        self._fused: Any = torch.compile(plain)
        self._compared: set[tuple[object, ...]] = set()

    def __call__(self, at: CleanBlock, delta: Tensor, precision: str, neurons: bool) -> Followed:
        n = len(delta)
        if self._fused is None or precision not in FAST["bf16"] or neurons:  # these are rare
            return self.plain(at, delta, precision, neurons)
        if n < LEAST_ROWS:
            more = delta[:1].expand(LEAST_ROWS - n, *delta.shape[1:])
            return self(at, torch.cat([delta, more]), precision, neurons).first(n)
        if precision == "bf16":
            at.block.prepare_bf16()
        torch._dynamo.maybe_mark_dynamic(delta, 0)
        sort = (precision, id(at.model), delta.shape[1:], at.block.window, at.layer.rotary is None)
        if sort in self._compared:
            return self._fused(at, delta, precision, neurons)
        plain = self.plain(at, delta.clone(), precision, neurons)
        try:
            with _quiet():
                followed = self._fused(at, delta, precision, neurons)
        except (torch._dynamo.exc.TorchDynamoException, OSError, ImportError) as error:
            cause = getattr(error, "inner_exception", error)
            reason = " ".join(str(cause).split())[:300]
            where = os.environ.get(CACHE)
            return self._without(f"they cannot be compiled ({reason}); cache: {where}", plain)
        difference = _difference(followed, plain)
        if not difference <= TOLERANCE:
            return self._without(f"what was compiled differs by {difference:.2g}", plain)
        self._compared.add(sort)
        return followed

    def _without(self, reason: str, plain: Followed) -> Followed:
        """From now on the plain step alone."""
        logger.warning(f"bf16 goes on without fused steps, and is slower: {reason}")
        self._fused = None
        return plain


@contextmanager
def _quiet() -> Iterator[None]:
    """Compiling without torch's words: damaged files of its cache are a traceback each there."""
    compiler = logging.getLogger("torch._inductor")
    before = compiler.level
    compiler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        compiler.setLevel(before)


def _difference(fused: Followed, plain: Followed) -> float:
    """The largest relative one of all that a step gives; NaN where one of them is."""
    found = [torch.zeros(())]
    for ours, theirs in zip(fused.parts, plain.parts, strict=True):
        if ours is not None and theirs is not None:
            difference = torch.linalg.vector_norm(ours - theirs)
            if difference != 0:  # NaN neither
                found.append(difference / torch.linalg.vector_norm(theirs))
    return torch.stack(found).max().item()

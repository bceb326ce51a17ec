"""How fast a model is measured here, by the authors' algorithm and by ours, and what is possible.

All of it in one process, in rounds that take everything in turn:

1. The rate of a matrix product of the model's own shape, in each precision.
2. The authors' algorithm. It takes long, so that each round takes some heads of *every* layer,
   others in each round: a layer's time is its sampled heads' mean times the heads it has, and the
   clean pass is added once.
3. Ours, over every head of every layer, in each precision, with its clean pass and its partners'.

Both measure resample ablations of the same sequences. The unit is the head-token: one head ablated,
measured at one prediction position. What is left out on both sides is what a run does once: loading
the model, and the choice of each layer's precision. With the floating-point operations of a way's
matrix products as torch counts them,

    share of the matrix rate = products [FLOP] / (seconds * rate [FLOP/s])

The values of the sampled heads are compared: a fast wrong answer is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn.functional import linear
from torch.utils.flop_counter import FlopCounterMode

from selfrepair_assets.bench.authors_algorithm import AuthorsAlgorithm
from selfrepair_assets.measurement.engine import fast_error
from selfrepair_assets.measurement.engine.fused import LEAST_PRODUCTS
from selfrepair_assets.measurement.engine.interface import AblationRequest, tokens_on
from selfrepair_assets.measurement.engine.measure import Measurer, Progress
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model.models import LoadedModel
from selfrepair_assets.measurement.products.precision import tf32_products
from selfrepair_assets.measurement.run_spec import RunSpec

AUTHORS = "the authors' algorithm"
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
SAMPLE = 64
"""Tokens of each of two sequences on which each layer's precision is chosen."""
PRODUCT_SECONDS = 0.3
"""How long the rate of a matrix product is measured in a round."""
MOST_SEQUENCES = 16
"""Of a batch, where the caller names no number."""
LogitChanges = dict[Head, np.ndarray]  # each [batch pos-1]


@dataclass
class Timed:
    """One way of measuring: what each round gave, and the last round's values.

    Attributes:
        precision: whose matrix rate it is held against.
        flops: of its matrix products, for all heads.
        rates: head-tokens a second.
        shares: of the matrix rate.
    """

    precision: str
    flops: float
    rates: list[float] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    logit_changes: LogitChanges = field(default_factory=dict)


@dataclass
class Comparison:
    """The ways by name, the matrix rates of each round [FLOP/s], and each layer's precision."""

    ways: dict[str, Timed]
    matrix_rates: dict[str, list[float]]
    layers: dict[str, list[str]]


def usual_sequences(loaded: LoadedModel, length: int) -> int:
    """The sequences of `length` tokens that a long run on a CPU takes at once: 2 to 16.

    16 on a GPU, where a run takes what the memory holds, and both ways gain by more.
    """
    if loaded.device.type != "cpu":
        return MOST_SEQUENCES
    spec = RunSpec(model=loaded.name, tokens=2 * length, sequence_length=length, precision="bf16")
    of_run = Measurer(loaded, spec, fused=True).batch_size(length - 1)
    return min(MOST_SEQUENCES, max(2, of_run))


class Bench:
    """Compares the ways of measuring one model on one batch of sequences.

    tokens: ids [sequence pos], two sequences or more.
    """

    def __init__(self, loaded: LoadedModel, tokens: np.ndarray, clock: str = "wall") -> None:
        self.loaded, self.tokens = loaded, tokens
        self.clock = CLOCKS[clock]
        self.partners = np.roll(tokens, 1, axis=0)
        self.heads = [Head(i, h) for i in range(loaded.n_layers) for h in range(loaded.n_heads)]
        self.head_tokens = len(self.heads) * tokens[:, 1:].size
        self.exact = self._measurer("fp32")

    def work(self, precisions: Sequence[str], rounds: int, heads_per_layer: int) -> int:
        """The head-tokens that `compare` tells of."""
        of_authors = self.head_tokens // self.loaded.n_heads * heads_per_layer
        return rounds * (of_authors + len(precisions) * self.head_tokens)

    def compare(
        self, precisions: Sequence[str], rounds: int, heads_per_layer: int, progress: Progress
    ) -> Comparison:
        """Rounds of everything in turn, after each was run a little to warm up and be counted."""
        measurers = {precision: self._measurer(precision) for precision in precisions}
        for measurer in measurers.values():
            list(measurer.ablate(self._request(self._to_compile(measurer))))
        algorithm = AuthorsAlgorithm(self.loaded.bridge)
        ways = {AUTHORS: Timed("fp32", self._flops_of_authors(algorithm))} | {
            f"this, {precision}": Timed(precision, self._flops_of_ours(measurer))
            for precision, measurer in measurers.items()
        }
        rates: dict[str, list[float]] = {name: [] for name in ("fp32", *precisions)}
        for round_ in range(rounds):
            for precision, found in rates.items():
                found.append(self.matrix_rate(precision))
            for way in ways.values():
                first = round_ * heads_per_layer
                seconds = (
                    self._authors(way, algorithm, range(first, first + heads_per_layer), progress)
                    if way is ways[AUTHORS]
                    else self._ours(way, measurers[way.precision], progress)
                )
                way.rates.append(self.head_tokens / seconds)
                way.shares.append(way.flops / seconds / rates[way.precision][-1])
        layers = {name: measurer.layer_precision for name, measurer in measurers.items()}
        return Comparison(ways, rates, layers)

    def matrix_rate(self, precision: str) -> float:
        """FLOP/s of the MLP's two products, of as many rows as are propagated at once."""
        folded, device = self.loaded.folded, self.loaded.device
        assert folded is not None
        positions = self.tokens.shape[1]
        rows = self.exact.rows_at_once(positions) * positions
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        weights = [
            weight.to(dtype)
            for weight in (folded.blocks[0].mlp_in.weight, folded.blocks[0].mlp_out.weight)
        ]
        inputs = [torch.randn(rows, w.shape[1], device=device, dtype=dtype) for w in weights]
        with tf32_products() if precision == "tf32" else nullcontext(), torch.inference_mode():

            def multiply() -> None:
                for x, w in zip(inputs, weights, strict=True):
                    linear(x, w)

            multiply()  # to warm up
            began, times = self._now(), 0
            while not times or self._now() - began < PRODUCT_SECONDS:
                multiply()
                times += 1
            return times * 2 * rows * sum(w.numel() for w in weights) / (self._now() - began)

    def _measurer(self, precision: str) -> Measurer:
        """Of each layer's precision, as a run would choose it by a sample."""
        n_tokens, length = self.tokens.size, self.tokens.shape[1]
        spec = RunSpec(
            model=self.loaded.name, tokens=n_tokens, sequence_length=length, precision=precision
        )
        measurer = Measurer(self.loaded, spec)
        if precision == "fp32":
            return measurer
        measurer = Measurer(self.loaded, spec, fused=False)
        sample, partners = self.tokens[:2, :SAMPLE], self.partners[:2, :SAMPLE]
        request = AblationRequest(sample, measurer.sampled_heads, ["resample"], partners)
        chosen = fast_error.chosen(measurer.sample(request), precision)
        fused = self.loaded.device.type in LEAST_PRODUCTS
        return Measurer(self.loaded, spec, chosen.layers, fused)

    def _to_compile(self, measurer: Measurer) -> list[Head]:
        """Heads with which everything is compiled: of the last layer in each precision that has
        others behind it, and of the last layer."""
        layers = measurer.layer_precision
        last = {precision: layer for layer, precision in enumerate(layers[:-1])}
        wanted = {*last.values(), len(layers) - 1}
        return [head for head in self.heads if head.layer in wanted]

    def _authors(
        self, way: Timed, algorithm: AuthorsAlgorithm, turns: range, progress: Progress
    ) -> float:
        """Some heads of each layer; the seconds that all of them would take."""
        loaded = self.loaded
        began = self._now()
        algorithm.start(*self._tensors())
        seconds = self._now() - began
        for layer in range(loaded.n_layers):
            began = self._now()
            for turn in turns:
                head = Head(layer, (layer + turn) % loaded.n_heads)
                way.logit_changes[head] = algorithm.ablate(head)["logit_change"].cpu().numpy()
                progress(self.tokens[:, 1:].size)
            seconds += (self._now() - began) / len(turns) * loaded.n_heads
        return seconds

    def _ours(self, way: Timed, measurer: Measurer, progress: Progress) -> float:
        """All heads; the seconds that they take."""
        began = self._now()
        results = list(measurer.ablate(self._request(self.heads), progress))
        seconds = self._now() - began
        for found in results:
            changes = found.columns["logit_change"].numpy()
            way.logit_changes.update(zip(found.heads, changes, strict=True))
        return seconds

    def _flops_of_authors(self, algorithm: AuthorsAlgorithm) -> float:
        start = counted(lambda: algorithm.start(*self._tensors()))
        return start + len(self.heads) * counted(lambda: algorithm.ablate(self.heads[0]))

    def _flops_of_ours(self, measurer: Measurer) -> float:
        """From one head of each layer and from two: each further head needs as much as the second.

        What a layer's heads share is counted once, as if all went together. Steps are plain: in
        compiled ones nothing is seen of the products.
        """
        plain = Measurer(self.loaded, measurer.spec, measurer.layer_precision, fused=False)

        def of(n: int) -> float:
            some = self._request([head for head in self.heads if head.head < n])
            return counted(lambda: list(plain.ablate(some)))

        one = of(1)
        return one + (self.loaded.n_heads - 1) * (of(2) - one)

    def _request(self, heads: Sequence[Head]) -> AblationRequest:
        return AblationRequest(self.tokens, heads, ["resample"], self.partners)

    def _tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        device = self.loaded.device
        return tokens_on(device, self.tokens), tokens_on(device, self.partners)

    def _now(self) -> float:
        """The clock, when the device has done what it was given."""
        if self.loaded.device.type == "cuda":
            torch.cuda.synchronize(self.loaded.device)
        return self.clock()


def counted(work: Callable[[], Any]) -> float:
    """The floating-point operations of the matrix products in some work."""
    unknown = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        torch.ops.selfrepair.linear_of_bf16: _linear_flops,
        torch.ops.selfrepair.linear_of_tf32: _linear_flops,
    }
    if hasattr(torch.ops.selfrepair, "product_of_bf16"):  # which is compiled when it is wanted
        unknown[torch.ops.selfrepair.product_of_bf16] = _packed_flops
    with FlopCounterMode(display=False, custom_mapping=unknown) as counter:
        work()
    return float(counter.get_total_flops())


def _linear_flops(rows: Sequence[int], weight: Sequence[int], *_args: Any, **_named: Any) -> int:
    return 2 * rows[0] * weight[0] * weight[1]


def _packed_flops(
    rows: Sequence[int], _packed: Sequence[int], n_out: int, *_args: Any, **_named: Any
) -> int:
    return 2 * rows[0] * rows[1] * n_out


def _attention_flops(query: Sequence[int], key: Sequence[int], *_args: Any, **_named: Any) -> int:
    """Of `q k'` and of the pattern times `v`: torch counts no fused attention of the CPU."""
    batch, heads, positions, d_head = query
    return 4 * batch * heads * positions * key[-2] * d_head

"""How fast this machine measures: the engine itself, timed for a second or so on a few layers.

What is timed is what a run does, at its width, its batch and its precision. The perturbation
engine's time for a head is linear in the layers after it, so that two layers tell about all:

    ablating a head of layer l over one sequence     own + (n_layers - 1 - l) later
    the sequence's clean run, and its partner's      n_layers clean

The hooked engine runs the whole model for each head, whose time is linear in the layers too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from selfrepair_assets.measurement.ablations import any_needs
from selfrepair_assets.measurement.engine.interface import AblationRequest
from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.engine.results import KeptRows
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model.models import LoadedModel
from selfrepair_assets.measurement.run_spec import RunSpec

LAYERS = 2
"""Of a thin model: a head's own, and one after it."""
MOST_PRODUCTS = 2e11
"""Multiplications and additions of one timing, seconds on a slow machine: wide models get fewer
rows than a run stacks."""
ENOUGH = 0.3
"""Seconds of repeating one timing."""
TOKENS_TIMED = 4096
"""Columns of the unembedding that are timed."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class FastRates:
    """Seconds of the perturbation engine.

    Attributes:
        clean: of one layer and one sequence, with its partner.
        own, later: of one head over one sequence, in its own layer and in each one after it.
        fed_clean: as `clean`, of the first tokens on which heads are fed.
        fed: of one head, one scale and one sequence, in its own layer and in each one after it.
    """

    clean: float
    own: float
    later: float
    fed_clean: float
    fed: float

    def ablating(self, n_layers: int, layers: Sequence[int]) -> float:
        """Of one sequence, whose heads of these `layers` (one entry a head) are ablated once."""
        after = sum(n_layers - 1 - layer for layer in layers)
        return len(layers) * self.own + after * self.later

    def running_clean(self, n_layers: int) -> float:
        return n_layers * self.clean

    def feeding(self, n_layers: int, layers: Sequence[int], scales: int, positions: int) -> float:
        """Of one sequence: each layer that has fed heads has a clean run of its own."""
        through = sum(n_layers - layer for layer in layers)
        return len(set(layers)) * n_layers * self.fed_clean + scales * through * self.fed


@dataclass(frozen=True)
class HookedRates:
    """Seconds of the hooked engine for one sequence, by the model's layers.

    Attributes:
        clean, ablated, fed: of a pass, as (what it takes apart from its layers, of one layer).
    """

    clean: tuple[float, float]
    ablated: tuple[float, float]
    fed: tuple[float, float]

    def ablating(self, n_layers: int, layers: Sequence[int]) -> float:
        return len(layers) * _pass(self.ablated, n_layers)

    def running_clean(self, n_layers: int) -> float:
        return 2 * _pass(self.clean, n_layers)

    def feeding(self, n_layers: int, layers: Sequence[int], scales: int, positions: int) -> float:
        """A pass for each head, scale and position."""
        passes = len(set(layers)) + len(layers) * scales * positions
        return passes * _pass(self.fed, n_layers)


Rates = FastRates | HookedRates


def _pass(seconds: tuple[float, float], n_layers: int) -> float:
    return seconds[0] + n_layers * seconds[1]


def first_layers(loaded: LoadedModel) -> LoadedModel:
    """The thin model in one that is loaded for the fast engine: its first layers."""
    assert loaded.folded is not None
    blocks = loaded.folded.blocks[:LAYERS]
    return replace(loaded, folded=replace(loaded.folded, blocks=blocks), n_layers=len(blocks))


def fast_rates(
    thin: LoadedModel,
    spec: RunSpec,
    heads: float,
    clock: Clock = time.perf_counter,
    *,
    fused: bool = False,
) -> FastRates:
    """Times the perturbation engine on a thin model of `LAYERS` layers, or of one.

    heads: how many of a layer are ablated, on average.
    fused: whether the run takes fused steps.
    """
    run = _Timed(thin, spec, clock, fused=fused)
    n = max(1, min(round(heads), run.most_heads))
    none, last = run.ablating(0, 0), run.ablating(thin.n_layers - 1, n)
    first = run.ablating(0, n)
    fed_last, fed_first = run.feeding(thin.n_layers - 1, n), run.feeding(0, n)
    further, rows = max(1, thin.n_layers - 1), n * run.sequences
    fed_rows = n * run.fed_sequences * len(spec.reinforcement_scales)
    fed = max(0.0, fed_first - fed_last) / fed_rows / further
    return FastRates(
        clean=none / run.sequences / thin.n_layers,
        own=max(0.0, last - none) / rows,
        later=max(0.0, first - last) / rows / further,
        fed_clean=max(0.0, fed_last - fed * fed_rows) / run.fed_sequences / thin.n_layers,
        fed=fed,
    )


def hooked_rates(
    models: Sequence[LoadedModel], spec: RunSpec, d_vocab: int, clock: Clock = time.perf_counter
) -> HookedRates:
    """Times the hooked engine: on two models of different depth, or on the whole one.

    d_vocab: the tokens that the whole model knows; what those cost that these lack is added.

    Raises:
        InputError: the hooked engine cannot measure such a model.
    """
    depths, found = [model.n_layers for model in models], []
    for model in models:
        run = _Timed(model, spec, clock)
        none, one = run.ablating(0, 0), run.ablating(0, 1)
        found.append(
            [
                (none / run.passes + run.unembedding(d_vocab)) / run.sequences,
                (max(0.0, one - none) + run.unembedding(d_vocab)) / run.sequences,
                run.short_pass() / run.fed_sequences,
            ]
        )
    return HookedRates(*(_line(depths, [of[i] for of in found]) for i in range(3)))


def _line(depths: Sequence[int], seconds: Sequence[float]) -> tuple[float, float]:
    """Intercept and slope through two points; through the origin and one."""
    if len(depths) == 1:
        return 0.0, seconds[0] / depths[0]
    slope = max(0.0, (seconds[1] - seconds[0]) / (depths[1] - depths[0]))
    return max(0.0, seconds[0] - slope * depths[0]), slope


class _Timed:
    """What a run asks of its engine, on random tokens."""

    def __init__(
        self, loaded: LoadedModel, spec: RunSpec, clock: Clock, *, fused: bool = False
    ) -> None:
        self.loaded, self.spec, self.clock, self.fused = loaded, spec, clock, fused
        self.measurer = Measurer(loaded, spec, [spec.precision] * loaded.n_layers, fused)
        self.sequences = min(self.measurer.batch_size(spec.sequence_length), spec.n_sequences)
        self.fed_length = spec.n_reinforcement_positions + 1
        fed = self.measurer.batch_size(self.fed_length)
        self.fed_sequences = min(fed, spec.n_reinforcement_sequences)
        with_partners = any_needs(spec.ablations, "partner_tokens")
        self.kind, self.passes = ("resample", 2) if with_partners else ("zero", 1)

    @property
    def most_heads(self) -> int:
        """Of a layer that can be timed within `MOST_PRODUCTS`."""
        assert self.loaded.folded is not None
        weights = sum(m.weight.numel() for m in self.loaded.folded.blocks[0].maps)
        products = 2 * LAYERS * weights * self.sequences * self.spec.sequence_length
        return max(1, int(MOST_PRODUCTS / products))

    def ablating(self, layer: int, n_heads: int) -> float:
        """One batch, `n_heads` of one layer, with the details of their top rows."""
        length = self.spec.sequence_length
        tokens, partners = (self._tokens(self.sequences, length, seed) for seed in (0, 1))
        heads = [Head(layer, head) for head in range(n_heads)]
        top = max(1, int(self.spec.top_fraction * self.sequences * (length - 1)))
        places = np.arange(top)
        kept = KeptRows(
            np.full(n_heads * top, layer),
            np.arange(n_heads).repeat(top),
            np.tile(places % self.sequences, n_heads),
            np.tile(places // self.sequences % (length - 1), n_heads),
        )
        request = AblationRequest(tokens, heads, [self.kind], partners, kept=kept)
        if self.fused:  # they are compiled first
            list(self.measurer.ablate(request))
        return self._seconds(lambda: list(self.measurer.ablate(request)))

    def feeding(self, layer: int, n_heads: int) -> float:
        tokens = self._tokens(self.fed_sequences, self.fed_length)
        heads = [Head(layer, head) for head in range(n_heads)]
        scales = self.spec.reinforcement_scales
        return self._seconds(lambda: list(self.measurer.reinforce(tokens, heads, scales)))

    def short_pass(self) -> float:
        """A clean pass over the tokens on which heads are fed."""
        tokens = self._tokens(self.fed_sequences, self.fed_length)
        return self._seconds(lambda: self.measurer.clean(tokens))

    def unembedding(self, d_vocab: int) -> float:
        """One batch's logits of the tokens that this model lacks of `d_vocab`."""
        x = torch.randn(self.sequences * self.spec.sequence_length, self.loaded.d_model)
        W = torch.randn(self.loaded.d_model, TOKENS_TIMED).to(self.loaded.device)
        x = x.to(self.loaded.device)
        lacking = max(0, d_vocab - self.loaded.d_vocab)
        return self._seconds(lambda: (x @ W).sum().item()) * lacking / TOKENS_TIMED

    def _tokens(self, sequences: int, length: int, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, self.loaded.d_vocab, (sequences, length))

    def _seconds(self, work: Callable[[], object]) -> float:
        """The median of some repetitions, after one that warms up where that is not long."""
        found: list[float] = []
        while len(found) < 2 or (len(found) < 9 and sum(found) < ENOUGH):
            began = self.clock()
            work()
            found.append(self.clock() - began)
            if found[0] > ENOUGH:
                return found[0]
        return statistics.median(found[1:])

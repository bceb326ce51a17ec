"""A run foretold: how long it takes on this machine, how much memory, and how much disk.

Time is what the engine takes (`pilot`) for the work that the options ask for, and what all around
it takes. Memory is the most of loading, measuring and publishing. Disk is what the tables take,
once in shards and once in the published file. The constants are of whole runs that were measured
(`python -m tests.benchmarks.forecasts`, docs/measurements.md).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch

from selfrepair_assets.measurement.engine.fast_error import (
    HEADS_IN_SAMPLE,
    watched_heads_of,
    watched_sequences,
)
from selfrepair_assets.measurement.engine.fused import is_worth
from selfrepair_assets.measurement.engine.hooked import bytes_of_pass
from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.forecast.disk import (
    FOLLOWED_HEADS,
    bytes_of_run,
    table_numbers,
)
from selfrepair_assets.measurement.forecast.pilot import (
    LAYERS,
    Clock,
    FastRates,
    Rates,
    fast_rates,
    first_layers,
    hooked_rates,
)
from selfrepair_assets.measurement.model.configured import ConfiguredModel, llama_like
from selfrepair_assets.measurement.model.models import LoadedModel
from selfrepair_assets.measurement.products.precision import FAST
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.measurement.text.corpus import check_sequence_length

LIBRARIES = 700_000_000
"""Bytes of Python and its libraries, with nothing loaded."""
PUBLISHING, PUBLISHING_A_NUMBER, PUBLISHING_AT_MOST = 830_000_000, 20, 1_350_000_000
"""Bytes of a process that publishes: libraries, and up to half a gigabyte of DuckDB's."""
SECONDS_AT_LEAST = 22.0
"""Of any run: imports, Dagster, the text, checks, the stored results."""
SECONDS_PER_SHARD = 0.5
SECONDS_PER_NUMBER = 1e-6
"""Of a number of a table: written, checked, published."""
SECONDS_PER_BYTE = 4e-9
"""Of the weights: read, compared, folded."""
LEAST_WORK = 1e12
"""Multiplications of a run that is worth some seconds of timing: fewer take seconds themselves."""
HOOKED_DEPTHS = (1, 3)
"""Layers of the thin models on which the hooked engine is timed."""


@dataclass(frozen=True)
class Forecast:
    """What a run takes.

    Attributes:
        seconds: from the command to the summary; None of a model that does not fit in memory.
        memory: bytes at most, on the model's device; of a CPU, those of the whole process.
        disk: bytes of its tables, as they are kept.
        times_fast: as many times as long as the fast engine takes on a Llama of the same sizes;
            None where that engine measures.
    """

    seconds: float | None
    memory: int
    disk: int
    times_fast: float | None = None


def foretell(
    spec: RunSpec, configured: ConfiguredModel, clock: Clock = time.perf_counter
) -> tuple[Forecast, LoadedModel]:
    """Of a run, from its model's configuration alone; and the model, by its sizes.

    Raises:
        InputError: neither engine measures such a model, or it lacks what the options name.
    """
    whole = configured.whole()
    if whole is not None:
        check_sequence_length(spec.sequence_length, whole.n_ctx)
        memory = _fast_memory(whole, spec)
        fits = memory < memory_of(whole.device)[1]
        rates = _rates(configured.thin(LAYERS), spec, whole.n_layers, clock) if fits else None
        weights = 4 * n_parameters(whole.source)
        return _forecast(spec, whole, memory, weights, rates, clock), whole
    depths = sorted({min(depth, configured.n_layers) for depth in HOOKED_DEPTHS})
    thin = [configured.thin(depth) for depth in depths]
    check_sequence_length(spec.sequence_length, thin[0].n_ctx)
    whole = replace(thin[-1], n_layers=configured.n_layers, d_vocab=configured.d_vocab)
    return _hooked(spec, thin, whole, configured.n_parameters, clock)


def is_long(spec: RunSpec, loaded: LoadedModel) -> bool:
    """Whether a run takes longer than its forecast: by its heads, tokens and weights."""
    heads = len(spec.chosen_heads(loaded.n_layers, loaded.n_heads))
    head_tokens = heads * spec.n_sequences * spec.sequence_length * len(spec.ablations)
    return head_tokens * n_parameters(loaded.source) > LEAST_WORK


def foretell_loaded(
    spec: RunSpec, loaded: LoadedModel, clock: Clock = time.perf_counter
) -> Forecast:
    """Of a run whose model is in memory."""
    if loaded.folded is not None:
        rates: Rates = _rates(first_layers(loaded), spec, loaded.n_layers, clock)
        weights = 4 * n_parameters(loaded.source)
        return _forecast(spec, loaded, _fast_memory(loaded, spec), weights, rates, clock)
    return _hooked(spec, [loaded], loaded, n_parameters(loaded.source), clock)[0]


def _hooked(
    spec: RunSpec, timed: list[LoadedModel], whole: LoadedModel, parameters: int, clock: Clock
) -> tuple[Forecast, LoadedModel]:
    """timed: the whole model, or thin ones of different depth."""
    measurer = Measurer(timed[-1], spec)
    if not measurer.has_neurons:
        whole = replace(whole, d_mlp=0)
    again = whole.d_vocab * whole.d_model + whole.n_layers * whole.d_model**2  # W_U and all W_O
    at_once = 3 * measurer.batch_size(spec.sequence_length)  # clean, partners, ablated
    work = at_once * bytes_of_pass(whole, spec.sequence_length)
    memory = _most(whole.device, 4 * parameters, 4 * (parameters + again), work)
    rates = hooked_rates(timed, spec, whole.d_vocab, clock)
    return _forecast(spec, whole, memory, 4 * parameters, rates, clock), whole


def memory_of(device: torch.device) -> tuple[int, int]:
    """Bytes that are free on the device, and that it has in all."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free, total
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def _rates(thin: LoadedModel, spec: RunSpec, n_layers: int, clock: Clock) -> FastRates:
    layers = [head.layer for head in spec.chosen_heads(n_layers, thin.n_heads)]
    fused = thin.folded is not None and is_worth(spec, thin.folded, n_layers)
    return fast_rates(thin, spec, len(layers) / len(set(layers)), clock, fused=fused)


def _forecast(
    spec: RunSpec,
    model: LoadedModel,
    memory: int,
    weights: int,
    rates: Rates | None,
    clock: Clock,
) -> Forecast:
    if model.device.type == "cpu":
        numbers = sum(table_numbers(spec, model, spec.n_sequences).values())
        publishing = PUBLISHING + PUBLISHING_A_NUMBER * round(numbers)
        memory = max(memory, min(PUBLISHING_AT_MOST, publishing))
    seconds = times = None
    if rates is not None:
        measuring = engine_seconds(spec, model, rates)
        if not isinstance(rates, FastRates):
            fast = _rates(llama_like(model).thin(LAYERS), spec, model.n_layers, clock)
            times = measuring / engine_seconds(spec, model, fast)
        seconds = measuring + _other_seconds(spec, model, weights)
    return Forecast(seconds, memory, bytes_of_run(spec, model, spec.n_sequences), times)


def engine_seconds(spec: RunSpec, model: LoadedModel, rates: Rates) -> float:
    """What the engine takes for all steps of a run."""
    n, n_layers = spec.n_sequences, model.n_layers
    layers = [head.layer for head in spec.chosen_heads(n_layers, model.n_heads)]
    kinds, clean = len(spec.ablations), rates.running_clean(n_layers)
    of_one = rates.ablating(n_layers, layers)
    seconds = n * (clean / 2 + clean + kinds * of_one)
    if model.d_mlp:
        followed = min(FOLLOWED_HEADS, len(layers))
        met = n * -math.expm1(-followed * spec.top_fraction * (spec.sequence_length - 1))
        late = [round(0.75 * (n_layers - 1))] * followed
        seconds += 2 * kinds * met * (clean + rates.ablating(n_layers, late))
    fed = [head.layer for head in spec.reinforced_heads(n_layers, model.n_heads)]
    seconds += spec.n_reinforcement_sequences * rates.feeding(
        n_layers, fed, len(spec.reinforcement_scales), spec.n_reinforcement_positions
    )
    if spec.precision != "fp32" and isinstance(rates, FastRates):
        size = spec.sequences_in_shard(len(layers), model.device.type)
        seconds += _watching(spec, size, layers, clean, kinds * of_one / len(layers))
    return seconds


def _watching(spec: RunSpec, size: int, layers: list[int], clean: float, row: float) -> float:
    """Rows that are measured in fp32 too, which takes twice as long: before and meanwhile.

    size: sequences in a shard; row: seconds of one head's ablations over one sequence, in the run's
    precision.
    """
    of_layers = [layers.count(layer) for layer in set(layers)]
    heads = sum(watched_heads_of(of, size) for of in of_layers)
    watched = heads * len(watched_sequences(0, size))
    sampled = sum(min(of, HEADS_IN_SAMPLE) for of in of_layers)
    sequences = min(8, max(2, spec.n_sequences // 100))
    shards, tried = -(-spec.n_sequences // size), len(FAST[spec.precision])
    of_sample = (1 + tried) * clean + (1 + 2 * tried) * sampled * row
    return shards * (2 * clean + 3 * watched * row) + sequences * of_sample


def _other_seconds(spec: RunSpec, model: LoadedModel, weights: int) -> float:
    """What a run takes apart from its engine; weights: in bytes."""
    heads = len(spec.chosen_heads(model.n_layers, model.n_heads))
    shards = -(-spec.n_sequences // spec.sequences_in_shard(heads, model.device.type))
    numbers = sum(table_numbers(spec, model, spec.n_sequences).values())
    return (
        SECONDS_AT_LEAST
        + SECONDS_PER_SHARD * shards
        + SECONDS_PER_NUMBER * numbers
        + SECONDS_PER_BYTE * weights
    )


def _fast_memory(model: LoadedModel, spec: RunSpec) -> int:
    """Of a model that the fast engine reads."""
    assert model.folded is not None
    weights = 4 * n_parameters(model.source)
    maps = [m for block in model.folded.blocks for m in block.maps]
    held = _bytes_of([*model.folded.tensors(), *model.source.parameters()])
    bytes_of_fast = {"bf16": 2, "tf32": 4}.get(spec.precision, 0)
    fast = bytes_of_fast * sum(m.weight.numel() for m in maps)
    work = Measurer(model, spec).working_bytes(spec.sequence_length)
    return _most(model.device, weights, held, fast + work)


def _most(device: torch.device, weights: int, held: int, work: int) -> int:
    """The most of loading and of measuring.

    weights: bytes of the model as it is stored; held: of all that is made of it.
    """
    if device.type != "cpu":
        return held + work
    return LIBRARIES + held + max(weights, work)


def n_parameters(source: Any) -> int:
    """Weights of a transformers model, or of the one in a bridge; tied ones once."""
    return sum(p.numel() for p in getattr(source, "original_model", source).parameters())


def _bytes_of(tensors: list[torch.Tensor]) -> int:
    """What tensors take, those that share memory once."""
    places = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(places.values())


def duration(seconds: float) -> str:
    """Such as `40 s`, `12 min`, `3.4 h`, `4.1 days`."""
    for unit, least, length in (("days", 36 * 3600, 86400), ("h", 5400, 3600), ("min", 90, 60)):
        if seconds >= least:
            value = seconds / length
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{seconds:.0f} s"


def size(n: float) -> str:
    """Bytes, such as `2.7 GB` or `90 MB`."""
    return f"{n / 1e9:,.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"


def in_words(forecast: Forecast) -> str:
    """Such as `about 12 min, 2.7 GB of memory at most, 140 MB of disk`."""
    rest = f"{size(forecast.memory)} of memory at most, {size(forecast.disk)} of disk"
    if forecast.seconds is None:
        return f"{rest}; it does not fit in this machine's memory, so that no time is told"
    return f"about {duration(forecast.seconds)}, {rest}"

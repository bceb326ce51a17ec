"""How many times faster than the authors' algorithm the engine is.

    python -m tests.benchmarks.engine_speed

Both measure resample ablations of the same sequences with the same model, in turn, in one process.
The unit is the head-token: one head ablated, measured at one prediction position.

Ours is timed over every head of every layer, its clean pass and its partners' pass included.
Theirs takes many minutes for that, so that each round takes some heads of *every* layer (others in
each round): a layer's time is its sampled heads' mean times the heads it has, and the clean pass is
added once. What is left out on both sides is what a run does once: loading the model, and the
choice of precision, whose time is printed.

The values of the sampled heads are compared: a fast wrong answer is none.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from selfrepair_assets.measurement.engine import fast_error
from selfrepair_assets.measurement.engine.interface import AblationRequest
from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model.models import LoadedModel, load_model
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.measurement.text.corpus import token_sequences
from tests.benchmarks.authors_algorithm import AuthorsAlgorithm

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
LogitChanges = dict[Head, np.ndarray]  # each [batch pos-1]


@dataclass
class Timed:
    """One way of measuring: head-tokens per second in each round, and the last round's values."""

    rates: list[float] = field(default_factory=list)
    logit_changes: LogitChanges = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.rates)


def theirs(
    timed: Timed,
    loaded: LoadedModel,
    tokens: np.ndarray,
    heads_per_layer: int,
    round_: int,
    clock: str,
) -> None:
    """One round of the authors' algorithm over all layers."""
    algorithm = AuthorsAlgorithm(loaded.bridge)
    clean = torch.from_numpy(tokens.astype(np.int64)).to(loaded.device)
    started = CLOCKS[clock]()
    algorithm.start(clean, clean.roll(1, 0))
    seconds = CLOCKS[clock]() - started
    for layer in range(loaded.n_layers):
        started = CLOCKS[clock]()
        for i in range(heads_per_layer):
            head = Head(layer, (layer + round_ * heads_per_layer + i) % loaded.n_heads)
            timed.logit_changes[head] = algorithm.ablate(head)["logit_change"].cpu().numpy()
        seconds += (CLOCKS[clock]() - started) / heads_per_layer * loaded.n_heads
    positions = tokens.shape[0] * (tokens.shape[1] - 1)
    timed.rates.append(loaded.n_layers * loaded.n_heads * positions / seconds)


def ours(timed: Timed, measurer: Measurer, tokens: np.ndarray, clock: str) -> None:
    """One round of the engine over all heads."""
    loaded = measurer.loaded
    heads = [
        Head(layer, head) for layer in range(loaded.n_layers) for head in range(loaded.n_heads)
    ]
    request = AblationRequest(tokens, heads, ["resample"], np.roll(tokens, 1, axis=0))
    started = CLOCKS[clock]()
    results = list(measurer.ablate(request))
    seconds = CLOCKS[clock]() - started
    for found in results:
        changes = found.columns["logit_change"].numpy()
        timed.logit_changes.update(zip(found.heads, changes, strict=True))
    timed.rates.append(len(heads) * tokens.shape[0] * (tokens.shape[1] - 1) / seconds)


def relative_errors(measured: LogitChanges, reference: LogitChanges) -> dict[int, float]:
    """Per layer: norm of the difference by norm of ``logit_change``, over the heads in both."""
    errors = {}
    for layer in sorted({head.layer for head in reference}):
        heads = [head for head in reference if head.layer == layer and head in measured]
        ours_ = np.stack([measured[head] for head in heads])
        right = np.stack([reference[head] for head in heads])
        errors[layer] = float(np.linalg.norm(ours_ - right) / np.linalg.norm(right))
    return errors


def compare(
    loaded: LoadedModel, tokens: np.ndarray, rounds: int, heads_per_layer: int, clock: str = "wall"
) -> tuple[dict[str, Timed], list[str]]:
    """Interleaved rounds of theirs, ours in fp32, ours in bf16; and bf16's precision by layer."""
    n_tokens, length = tokens.size, tokens.shape[1]
    spec = RunSpec(model=loaded.name, tokens=n_tokens, sequence_length=length, precision="bf16")
    fp32, bf16 = Measurer(loaded, spec), Measurer(loaded, spec)
    started = time.perf_counter()
    sample, partners = tokens[:2, :64], np.roll(tokens[:2, :64], 1, axis=0)
    request = AblationRequest(sample, fp32.sampled_heads, ["resample"], partners)
    layer_precision, _ = fast_error.chosen(bf16.error_of_fast(request), "bf16")
    print(f"choosing the precision of each layer took {time.perf_counter() - started:.0f} s, once")
    bf16 = Measurer(loaded, spec, layer_precision)
    timed = {"authors": Timed(), "fp32": Timed(), "bf16": Timed()}
    for round_ in range(rounds):
        theirs(timed["authors"], loaded, tokens, heads_per_layer, round_, clock)
        ours(timed["fp32"], fp32, tokens, clock)
        ours(timed["bf16"], bf16, tokens, clock)
        rates = ", ".join(f"{name} {way.rates[-1]:,.0f}" for name, way in timed.items())
        print(f"round {round_ + 1} of {rounds}: {rates} head-tokens/s", flush=True)
    return timed, layer_precision


def table(timed: dict[str, Timed]) -> str:
    """The medians as a Markdown table; the ratio's spread is that of the rounds' own ratios."""
    lines = [
        "| way | head-tokens/s (min to max) | times the authors' | largest error of a layer |",
        "| --- | --- | --- | --- |",
    ]
    authors = timed["authors"]
    for name, way in timed.items():
        ratios = [mine / other for mine, other in zip(way.rates, authors.rates, strict=True)]
        error = max(relative_errors(way.logit_changes, authors.logit_changes).values())
        lines.append(
            f"| {name} | {way.median:,.0f} ({min(way.rates):,.0f} to {max(way.rates):,.0f}) "
            f"| {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) "
            f"| {'-' if way is authors else f'{error:.1e}'} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--corpus", default="python-docs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sequences", type=int, default=4, help="both sides' batch")
    parser.add_argument("--sequence-length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--heads-per-layer", type=int, default=1, help="of theirs, in each round")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: seconds of this process, where others share the machine; use OMP_NUM_THREADS=1",
    )
    choices = parser.parse_args()
    loaded = load_model(choices.model, device=choices.device)
    tokens = token_sequences(
        choices.corpus,
        loaded.tokenizer,
        n_sequences=choices.sequences,
        sequence_length=choices.sequence_length,
        sample="head",
    ).tokens
    print(
        f"{choices.model}: {loaded.n_layers} layers x {loaded.n_heads} heads, {choices.sequences} "
        f"sequences of {choices.sequence_length} tokens, {loaded.device}, "
        f"{torch.get_num_threads()} threads, {choices.clock} time"
    )
    timed, layer_precision = compare(
        loaded, tokens, choices.rounds, choices.heads_per_layer, choices.clock
    )
    in_fp32 = [layer for layer, precision in enumerate(layer_precision) if precision == "fp32"]
    print(f"\n{table(timed)}\n\nlayers that the bf16 run measures in fp32: {in_fp32 or 'none'}")


if __name__ == "__main__":
    main()

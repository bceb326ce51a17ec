"""What `selfrepair bench` prints: where it was measured, and a table in Markdown for the docs."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from selfrepair_assets.bench.speed import AUTHORS, Bench, Comparison, LogitChanges


def conditions(bench: Bench, found: Comparison) -> str:
    """What was measured, where, and what a matrix product does there."""
    loaded, tokens = bench.loaded, bench.tokens
    if loaded.device.type == "cuda":
        where = torch.cuda.get_device_name(loaded.device)
    else:
        cpu = torch.backends.cpu.get_cpu_capability()
        where = f"{loaded.device}, {torch.get_num_threads()} thread(s), {cpu}"
    rates = ", ".join(
        f"{precision} {statistics.median(of_rounds) / 1e12:.3g}"
        for precision, of_rounds in found.matrix_rates.items()
    )
    chosen = "".join(
        f" Of {precision}'s layers, as a run chooses, {_counted(layers)}."
        for precision, layers in found.layers.items()
        if precision != "fp32"
    )
    return (
        f"{loaded.name}, {loaded.n_layers} layers of {loaded.n_heads} heads, {len(tokens)} "
        f"sequences of {tokens.shape[1]} tokens, on {where}; matrix products: {rates} TFLOP/s."
        f"{chosen}"
    )


def _counted(layers: Sequence[str]) -> str:
    """`26 are in bf16, 4 in bf16_fp32`."""
    counts = [f"{n} in {precision}" for precision, n in Counter(layers).most_common()]
    return ", ".join(counts).replace(" in ", " are in ", 1)


def relative_errors(measured: LogitChanges, reference: LogitChanges) -> dict[int, float]:
    """Per layer: norm of the difference by norm of `logit_change`, over the heads in both."""
    errors = {}
    for layer in sorted({head.layer for head in reference}):
        heads = [head for head in reference if head.layer == layer and head in measured]
        ours = np.stack([measured[head] for head in heads])
        right = np.stack([reference[head] for head in heads])
        errors[layer] = float(np.linalg.norm(ours - right) / np.linalg.norm(right))
    return errors


def table(bench: Bench, found: Comparison) -> str:
    """The medians as a Markdown table; what is in brackets is the rounds' least and most."""
    lines = [
        "| model | way | head-tokens/s | times the authors' | of the matrix rate "
        "| largest error of a layer |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    authors = found.ways[AUTHORS]
    for name, way in found.ways.items():
        times = [mine / theirs for mine, theirs in zip(way.rates, authors.rates, strict=True)]
        error = max(relative_errors(way.logit_changes, authors.logit_changes).values())
        cells = [
            bench.loaded.name,
            name,
            _spread(way.rates, "{:,.0f}"),
            "1" if way is authors else _spread(times, "{:.1f}"),
            _spread(way.shares, "{:.0%}"),
            "-" if way is authors else f"{error:.1e}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float], form: str) -> str:
    median, least, most = (form.format(of(values)) for of in (statistics.median, min, max))
    return f"{median} ({least} to {most})"

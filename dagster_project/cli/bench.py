"""`selfrepair bench`: how fast a model is measured on this machine."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import click

from selfrepair_assets.bench.architectures import ARCHITECTURES
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.run_spec import OPTIONS
from selfrepair_assets.progress import Work

if TYPE_CHECKING:
    import numpy as np

    from selfrepair_assets.measurement.model.models import LoadedModel

CORPUS = "python-docs"


@click.command()
@click.argument("model", required=False)
@click.option(
    "--architecture",
    type=click.Choice(list(ARCHITECTURES)),
    help="Random weights of that model's shape, where its own are not at hand.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option(
    "--precision",
    metavar="LIST",
    help="Comma-separated: fp32, tf32, bf16.  [default: all that the device has]",
)
@click.option(
    "--sequences",
    type=click.IntRange(2),
    help="Sequences of both ways' batch.  [default: what a long run takes at once, 2 to 16]",
)
@click.option("--sequence-length", type=click.IntRange(2), default=128, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option(
    "--heads-per-layer",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Heads of each layer that the authors' algorithm measures in a round.",
)
@click.option(
    "--clock",
    type=click.Choice(["wall", "cpu"]),
    default="wall",
    show_default=True,
    help="cpu: seconds of this process, where others share the machine; with OMP_NUM_THREADS=1.",
)
def bench(
    model: str | None,
    architecture: str | None,
    device: str,
    precision: str | None,
    sequences: int | None,
    sequence_length: int,
    rounds: int,
    heads_per_layer: int,
    clock: str,
) -> None:
    """How fast MODEL is measured here, by the authors' algorithm and by this one.

    MODEL is as for a run; or name an --architecture. Prints a table in Markdown: head-tokens a
    second, and the share of what the machine's matrix products allow, measured in between.
    """
    from selfrepair_assets.bench.architectures import random_model
    from selfrepair_assets.bench.speed import Bench, usual_sequences
    from selfrepair_assets.bench.table import conditions, table
    from selfrepair_assets.measurement.model.models import load_model

    if (model is None) == (architecture is None):
        raise InputError("Name a MODEL, or an --architecture, and not both.")
    click.echo(f"loading {model or architecture} …", err=True)
    loaded = load_model(model, device=device) if model else random_model(str(architecture), device)
    if loaded.folded is None:
        raise InputError(
            f"'{loaded.name}' is measured with hooked passes, as the authors' algorithm does: "
            "there is nothing to compare."
        )
    precisions = _precisions(precision, loaded)
    n = sequences or usual_sequences(loaded, sequence_length)
    tokens = _tokens(loaded, n, sequence_length, is_random=model is None)
    of_model = Bench(loaded, tokens, clock)
    work = Work("bench", "head-tokens", of_model.work(precisions, rounds, heads_per_layer))
    with closing(work):
        found = of_model.compare(precisions, rounds, heads_per_layer, work.add)
    click.echo(f"\n{conditions(of_model, found)}\n")
    click.echo(table(of_model, found))


def _precisions(asked: str | None, loaded: LoadedModel) -> list[str]:
    from selfrepair_assets.measurement.model.models import refuse_precision
    from selfrepair_assets.measurement.products.precision import has_tf32

    option = OPTIONS["precision"]
    if asked is None:
        return [p for p in option.choices if p != "tf32" or has_tf32(loaded.device)]
    wanted = list(dict.fromkeys(word.strip() for word in asked.split(",")))
    for precision in wanted:
        option.refuse_others(precision)
        refuse_precision(precision, loaded.device)
    return wanted


def _tokens(loaded: LoadedModel, n: int, length: int, *, is_random: bool) -> np.ndarray:
    """Ids [sequence pos]: of a text for a model that was trained on one, else any."""
    import numpy as np

    from selfrepair_assets.measurement.text.corpus import token_sequences

    if is_random:
        return np.random.default_rng(0).integers(loaded.d_vocab, size=(n, length))
    text = token_sequences(
        CORPUS,
        loaded.tokenizer,
        n_sequences=n,
        sequence_length=length,
        sample="head",
        n_ctx=loaded.n_ctx,
        d_vocab=loaded.d_vocab,
    )
    return text.tokens

"""What a run is: its options, defined here and nowhere else, and what follows from them.

A `RunSpec` is made once, from the command line or from Dagster's Launchpad, and is stored with
the run. Everything after it reads the stored one, so that nothing else can hold another opinion.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Mapping
from ctypes import c_float
from dataclasses import asdict, dataclass
from typing import Any

from selfrepair_assets.measurement.ablations import ABLATIONS
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.heads import (
    Head,
    named_heads,
    named_layers,
    parse_heads,
    parse_layers,
)
from selfrepair_assets.measurement.options import AUTO, Limit, option, options_of

MEASUREMENT_VERSION = 3
"""Raised when the measurement changes in a way that makes old shards wrong to mix with new."""
ROWS_PER_SHARD = {"cpu": 250_000, "cuda": 4_000_000}
"""Rows of `head_ablations` that a shard aims at, by the kind of device (others: as a CPU). On a CPU
some 5 MB, and minutes of work to lose; a GPU measures as many in a fraction of a second, where what
a shard takes besides is foretold as half a second."""
LEAST_SHARDS = 8
"""A small run is cut at least so often, so that an interruption loses an eighth of it at most."""


@dataclass(frozen=True)
class RunSpec:
    """The options of one run; `OPTIONS` has what is said of each."""

    model: str = option(
        "A hub id, a folder as save_pretrained writes it, or the bundled model's name.",
        in_launchpad=False,
    )
    revision: str | None = option(
        "The hub's branch, tag or commit of the model.",
        None,
        unset="the default branch",
        in_launchpad=False,
    )
    corpus: str = option(
        "python-docs (embedded), pile, a dataset id, or a .txt, .jsonl or .parquet path.",
        "python-docs",
        metavar="NAME|PATH",
    )
    text_column: str | None = option("The dataset's column of text.", None, unset="found")
    tokens: int = option("Tokens of text; the run has the sequences that they fill.", 100_000)
    until: str | None = option(
        "Measure until the standard error of mean self-repair on the top rows is at most so many "
        "logits (0.05), or so much of the head's direct effect (5%), for 95 % of the heads.",
        None,
        unset="all tokens",
        metavar="LIMIT",
        decides_numbers=False,
    )
    sequence_length: int = option(
        "Tokens of a sequence, the beginning-of-sequence token included.", 128
    )
    sample: str = option(
        "random: sequences drawn from the corpus; head: its first ones.",
        "random",
        choices=("random", "head"),
    )
    ablations: tuple[str, ...] = option(
        f"Comma-separated: {', '.join(ABLATIONS)}.", ("resample",), choices=tuple(ABLATIONS)
    )
    layers: str | None = option("Layers whose heads are ablated: 8:12 or 0,5,7.", None, unset="all")
    heads: str | None = option("Heads that are ablated: L10H11,L9H3.", None, unset="all")
    precision: str = option(
        "fp32; or faster, with each layer's error watched: bf16, below 1 %, or, on NVIDIA GPUs, "
        "tf32, below 0.25 %.",
        "fp32",
        choices=("fp32", "tf32", "bf16"),
    )
    device: str = option("auto, cpu, cuda, cuda:1 or mps.", "auto", decides_numbers=False)
    batch_size: int | None = option(
        "Sequences measured at once.", None, unset=AUTO, least=1, decides_numbers=False
    )
    shard_sequences: int | None = option(
        "Sequences in a shard, which is what an interruption can lose.",
        None,
        unset="chosen",
        least=1,
        decides_numbers=False,
    )
    seed: int = option("Of the sample and of the resample ablation's pairing.", 0)
    top_fraction: float = option(
        "The share of a head's tokens that the paper's figures look at.", 0.02
    )
    center_unembed: bool = option(
        "Centre the logits over the vocabulary; the paper does, but for Llama.", True
    )
    neuron_heads: str | None = option(
        "Heads whose ablation is followed to every neuron of the last MLP layer: L10H11,L9H3.",
        None,
        unset="the four of largest mean direct effect before it",
    )
    reinforcement_scales: tuple[float, ...] = option(
        "Multiples of a head's own output that it is fed.", (1.0, 3.0, 5.0)
    )
    reinforcement_layers: str | None = option(
        "Layers whose heads are fed.", None, unset="upper half"
    )
    reinforcement_sequences: int = option(
        "Sequences that heads are fed on, as many as there are.", 50, least=1
    )
    reinforcement_tokens: int = option(
        "First tokens of each of these sequences on which heads are fed.", 30
    )

    def __post_init__(self) -> None:
        for name, found in OPTIONS.items():
            object.__setattr__(self, name, found.taken(getattr(self, name)))
        if not self.model.strip():
            raise InputError("No model is named. Give a hub id, a directory or the bundled model.")
        for name, found in OPTIONS.items():
            found.refuse_odd(getattr(self, name))
        object.__setattr__(self, "ablations", tuple(dict.fromkeys(self.ablations)))
        for name, found in OPTIONS.items():
            found.refuse_others(getattr(self, name))
        if self.sequence_length < 2:
            raise InputError(
                f"Sequences of {self.sequence_length} token(s) predict nothing. "
                "Use --sequence-length 2 or more."
            )
        if self.n_sequences < 2:
            raise InputError(
                f"{self.tokens} tokens fill {max(self.n_sequences, 0)} sequence(s) of "
                f"{self.sequence_length}; resampling needs two. "
                f"Use --tokens {2 * self.sequence_length} or more."
            )
        if not 0 < self.top_fraction <= 1:
            raise InputError(f"--top-fraction is a share above 0 up to 1, not {self.top_fraction}.")
        if self.reinforcement_tokens < 2:
            raise InputError(
                f"--reinforcement-tokens {self.reinforcement_tokens} predict nothing: 2 or more."
            )
        _ = self.limit
        for layers in (self.layers, self.reinforcement_layers):
            parse_layers(layers or ":")
        for heads in (self.heads, self.neuron_heads):
            parse_heads(heads or "")
        # As a float32 holds them: infinite where it holds none.
        scales = [c_float(scale).value for scale in self.reinforcement_scales]
        if not scales:
            raise InputError("--reinforcement-scales needs one number at least, as in 1,3,5.")
        if not all(map(math.isfinite, scales)) or len(set(scales)) < len(scales):
            raise InputError(
                f"--reinforcement-scales {', '.join(f'{s:g}' for s in self.reinforcement_scales)}: "
                "each is a finite number of 32 bits, and none is there twice, as in 1,3,5."
            )

    @property
    def run_id(self) -> str:
        """The run's name in every table: the model as given, with `@revision` if one was."""
        return self.model if self.revision is None else f"{self.model}@{self.revision}"

    @property
    def limit(self) -> Limit | None:
        """That of `until`."""
        return None if self.until is None else Limit.of(self.until)

    @property
    def n_sequences(self) -> int:
        return self.tokens // self.sequence_length

    def sequences_in_shard(self, n_heads: int, device_type: str) -> int:
        """As asked for, else as many as have the rows of a shard if so many heads are ablated."""
        if self.shard_sequences is not None:
            return self.shard_sequences
        rows = (self.sequence_length - 1) * n_heads * len(self.ablations)
        wanted = ROWS_PER_SHARD.get(device_type, ROWS_PER_SHARD["cpu"])
        return min(max(1, wanted // rows), -(-self.n_sequences // LEAST_SHARDS))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of every choice that determines the numbers, and of the measurement's version."""
        choices = {k: v for k, v in asdict(self).items() if OPTIONS[k].decides_numbers}
        text = json.dumps({"version": MEASUREMENT_VERSION, **choices}, sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()

    def chosen_heads(self, n_layers: int, n_heads: int) -> list[Head]:
        """The heads to ablate, in order.

        Raises:
            InputError: a layer or head that the model does not have.
        """
        chosen = named_layers("--layers", self.layers, n_layers)
        heads = [Head(layer, head) for layer in chosen for head in range(n_heads)]
        if self.heads is None:
            return heads
        return named_heads("--heads", self.heads, heads, n_layers, n_heads)

    def chosen_neuron_heads(self, n_layers: int, n_heads: int) -> list[Head] | None:
        """Of the ablated heads those followed to every neuron; None: found by their effect."""
        if self.neuron_heads is None:
            return None
        chosen = self.chosen_heads(n_layers, n_heads)
        return named_heads("--neuron-heads", self.neuron_heads, chosen, n_layers, n_heads)

    def reinforced_heads(self, n_layers: int, n_heads: int) -> list[Head]:
        """Of the ablated heads those that are fed their own output."""
        upper = f"{n_layers // 2}:"
        layers = named_layers(
            "--reinforcement-layers", self.reinforcement_layers or upper, n_layers
        )
        return [head for head in self.chosen_heads(n_layers, n_heads) if head.layer in layers]

    @property
    def n_reinforcement_sequences(self) -> int:
        return min(self.reinforcement_sequences, self.n_sequences)

    @property
    def n_reinforcement_positions(self) -> int:
        """Prediction positions of a sequence at which heads are fed."""
        return min(self.reinforcement_tokens, self.sequence_length) - 1

    def resample_partners(self) -> list[int]:
        """The sequence whose `z` replaces sequence i's: one seeded cycle through all sequences.

        A single cycle pairs no sequence with itself and uses each once; it depends on the seed
        and the number of sequences alone, not on batches, shards or machines.
        """
        order = list(range(self.n_sequences))
        random.Random(self.seed).shuffle(order)
        partners = [0] * len(order)
        for i, sequence in enumerate(order):
            partners[sequence] = order[(i + 1) % len(order)]
        return partners

    def as_json(self) -> dict[str, Any]:
        """The settings as they are stored with the run."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> RunSpec:
        """The settings that `as_json` gave, in this version or in an older one."""
        stored = {"sample": "head", "reinforcement_tokens": stored["sequence_length"], **stored}
        if stored["reinforcement_sequences"] is None:  # as it was chosen then
            eighth = -(-stored["tokens"] // stored["sequence_length"] // 8)
            stored["reinforcement_sequences"] = max(1, min(50, eighth))
        values: dict[str, Any] = {
            name: tuple(value) if OPTIONS[name].is_list else value for name, value in stored.items()
        }
        return cls(**values)

    def as_typed(self) -> dict[str, str | None]:
        """Each option as a user types it; None where it is left to the run."""
        return {name: found.typed(getattr(self, name)) for name, found in OPTIONS.items()}

    def differences(self, other: RunSpec) -> list[str]:
        """The settings that determine numbers in which two specs differ, as `name: a, not b`."""
        return [
            f"{name}: {getattr(self, name)}, not {getattr(other, name)}"
            for name, found in OPTIONS.items()
            if found.decides_numbers and getattr(self, name) != getattr(other, name)
        ]


OPTIONS = options_of(RunSpec)
"""All options by name, in their order."""

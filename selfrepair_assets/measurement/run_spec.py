"""What a run is: every choice that determines its numbers, and the few that do not.

A `RunSpec` is made once, from the command line or from Dagster's Launchpad, and is stored with
the run. Everything after it reads the stored one, so that nothing else can hold another opinion.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from selfrepair_assets.measurement.errors import InputError

ABLATIONS = ("resample", "mean", "zero")
PRECISIONS = ("fp32", "bf16")
SAMPLES = ("random", "head")
MEASUREMENT_VERSION = 2
"""Raised when the measurement changes in a way that makes old shards wrong to mix with new."""

MOST = 10**12  # tokens, and any other number
LONGEST = 1_000  # characters of a name; a file system takes 4,096 bytes of a path

_NOT_PART_OF_THE_NUMBERS = ("device", "batch_size", "shard_sequences")


@dataclass(frozen=True, order=True)
class Head:
    """An attention head, written `L10H11`: the 12th head of the 11th layer."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"

    @classmethod
    def parse(cls, text: str) -> Head:
        match = re.fullmatch(r"L(\d+)H(\d+)", text.strip(), flags=re.IGNORECASE)
        if match is None:
            raise InputError(f"'{text}' is not a head. Write layer and head as in L10H11.")
        return cls(int(match[1]), int(match[2]))


def parse_heads(text: str) -> tuple[Head, ...]:
    """`"L10H11,L9H3"` to heads, sorted and without repeats."""
    return tuple(sorted({Head.parse(part) for part in text.split(",") if part.strip()}))


def by_layer(heads: Sequence[Head]) -> dict[int, list[Head]]:
    """Heads by their layer, both in order."""
    layers: dict[int, list[Head]] = {}
    for head in sorted(heads):
        layers.setdefault(head.layer, []).append(head)
    return layers


def parse_layers(text: str) -> slice | tuple[int, ...]:
    """`"8:12"` (8 to 11, as Python slices), `"-2:"` (the last two), `"3"` or `"0,5,7"`."""
    try:
        if ":" in text:
            start, stop = text.split(":")
            return slice(int(start) if start.strip() else None, int(stop) if stop.strip() else None)
        return tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        raise InputError(
            f"'{text}' is not a choice of layers. Write a range as in 8:12 (layers 8 to 11), "
            "or numbers as in 0,5,7."
        ) from None


@dataclass(frozen=True)
class RunSpec:
    """The settings of one run.

    Attributes:
        model: hub id, local directory, or the bundled model's name, as the user gave it.
        revision: the hub's branch, tag or commit; None is the default branch.
        corpus: `python-docs`, `pile`, a dataset id, or a path to .txt, .jsonl or .parquet.
        text_column: the dataset's column that holds the text; None finds it.
        tokens: tokens of text, BOS included; the run has `tokens // sequence_length` sequences.
        sequence_length: tokens in one sequence, BOS included; one less prediction positions.
        sample: `random`: sequences drawn from the corpus; `head`: its first ones.
        ablations: subset of `resample`, `mean`, `zero` (section 3.2 of the paper).
        layers: the layers whose heads are ablated, as the user wrote it (`8:12`); None is all.
        heads: the heads that are ablated (`L10H11,L9H3`), within `layers`; None is all.
        precision: `fp32`, or `bf16` (products of changes in bfloat16 where that keeps 1e-2).
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
        batch_size: sequences measured at once; None takes what the memory holds.
        shard_sequences: sequences in one shard; None chooses.
        seed: of the sample and of the resample pairing.
        top_fraction: the share of a head's rows that its top rows are (the paper's 2 %).
        center_unembed: subtract the vocabulary's mean from `W_U` (the paper: on, off for Llama).
        neuron_heads: heads whose ablation is followed to every neuron of the last MLP layer
            (`L10H11,L9H3`); None takes the four of the largest mean direct effect before it.
        reinforcement_scales: multiples of a head's own output that it is fed (section 5.3).
        reinforcement_layers: as `layers`; None is the upper half.
        reinforcement_sequences: sequences that heads are fed on, the run's first ones; the paper's
            50, or as many as there are.
        reinforcement_tokens: their first tokens, on which heads are fed; the paper's 30.
    """

    model: str
    revision: str | None = None
    corpus: str = "python-docs"
    text_column: str | None = None
    tokens: int = 100_000
    sequence_length: int = 128
    sample: str = "random"
    ablations: tuple[str, ...] = ("resample",)
    layers: str | None = None
    heads: str | None = None
    precision: str = "fp32"
    device: str = "auto"
    batch_size: int | None = None
    shard_sequences: int | None = None
    seed: int = 0
    top_fraction: float = 0.02
    center_unembed: bool = True
    neuron_heads: str | None = None
    reinforcement_scales: tuple[float, ...] = (1.0, 3.0, 5.0)
    reinforcement_layers: str | None = None
    reinforcement_sequences: int = 50
    reinforcement_tokens: int = 30

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise InputError("No model is named. Give a hub id, a directory or the bundled model.")
        for option in fields(self):
            _refuse_odd_value(option.name, getattr(self, option.name))
        object.__setattr__(self, "ablations", tuple(dict.fromkeys(self.ablations)))
        unknown = [name for name in self.ablations if name not in ABLATIONS]
        if unknown or not self.ablations:
            raise InputError(
                f"Unknown ablation '{', '.join(unknown)}'. Choose from {', '.join(ABLATIONS)}."
            )
        if self.precision not in PRECISIONS:
            raise InputError(
                f"Unknown precision '{self.precision}'. Choose from {', '.join(PRECISIONS)}."
            )
        if self.sample not in SAMPLES:
            raise InputError(f"Unknown sample '{self.sample}'. Choose from {', '.join(SAMPLES)}.")
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
        for name in ("batch_size", "shard_sequences", "reinforcement_sequences"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} is 1 or more, not {value}.")
        if self.reinforcement_tokens < 2:
            raise InputError(
                f"--reinforcement-tokens {self.reinforcement_tokens} predict nothing: 2 or more."
            )
        for layers in (self.layers, self.reinforcement_layers):
            parse_layers(layers or ":")
        for heads in (self.heads, self.neuron_heads):
            parse_heads(heads or "")
        with np.errstate(over="ignore"):  # beyond 32 bits it is infinite, which is refused below
            scales = [np.float32(scale) for scale in self.reinforcement_scales]
        if not scales:
            raise InputError("--reinforcement-scales needs one number at least, as in 1,3,5.")
        if not all(np.isfinite(scales)) or len(set(scales)) < len(scales):
            raise InputError(
                f"--reinforcement-scales {', '.join(f'{s:g}' for s in self.reinforcement_scales)}: "
                "each is a finite number of 32 bits, and none is there twice, as in 1,3,5."
            )

    @property
    def run_id(self) -> str:
        """The run's name in every table: the model as given, with `@revision` if one was."""
        return self.model if self.revision is None else f"{self.model}@{self.revision}"

    @property
    def n_sequences(self) -> int:
        return self.tokens // self.sequence_length

    @property
    def fingerprint(self) -> str:
        """SHA-256 of every choice that determines the numbers, and of the measurement's version."""
        choices = {k: v for k, v in asdict(self).items() if k not in _NOT_PART_OF_THE_NUMBERS}
        text = json.dumps({"version": MEASUREMENT_VERSION, **choices}, sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()

    def chosen_heads(self, n_layers: int, n_heads: int) -> list[Head]:
        """The heads to ablate, in order.

        Raises:
            InputError: a layer or head that the model does not have.
        """
        chosen = _layers("--layers", self.layers, n_layers)
        heads = [Head(layer, head) for layer in chosen for head in range(n_heads)]
        return (
            heads if self.heads is None else _among("--heads", self.heads, heads, n_layers, n_heads)
        )

    def chosen_neuron_heads(self, n_layers: int, n_heads: int) -> list[Head] | None:
        """Of the ablated heads those followed to every neuron; None: found by their effect."""
        if self.neuron_heads is None:
            return None
        chosen = self.chosen_heads(n_layers, n_heads)
        return _among("--neuron-heads", self.neuron_heads, chosen, n_layers, n_heads)

    def reinforced_heads(self, n_layers: int, n_heads: int) -> list[Head]:
        """Of the ablated heads those that are fed their own output."""
        upper = f"{n_layers // 2}:"
        layers = _layers("--reinforcement-layers", self.reinforcement_layers or upper, n_layers)
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
        stored: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return stored

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> RunSpec:
        """The settings that `as_json` gave, in this version or in an older one."""
        stored = {"sample": "head", "reinforcement_tokens": stored["sequence_length"], **stored}
        if stored["reinforcement_sequences"] is None:  # as it was chosen then
            eighth = -(-stored["tokens"] // stored["sequence_length"] // 8)
            stored["reinforcement_sequences"] = max(1, min(50, eighth))
        for name in ("ablations", "reinforcement_scales"):
            stored[name] = tuple(stored[name])
        return cls(**stored)

    def differences(self, other: RunSpec) -> list[str]:
        """The settings that determine numbers in which two specs differ, as `name: a, not b`."""
        return [
            f"{f.name}: {getattr(self, f.name)}, not {getattr(other, f.name)}"
            for f in fields(self)
            if f.name not in _NOT_PART_OF_THE_NUMBERS
            and getattr(self, f.name) != getattr(other, f.name)
        ]

    def with_(self, **changes: object) -> RunSpec:
        return replace(self, **changes)  # type: ignore[arg-type]


def _refuse_odd_value(name: str, value: object) -> None:
    """Raises InputError for a number or a text that no run can have, whatever it is for."""
    option = "MODEL" if name == "model" else "--" + name.replace("_", "-")
    if isinstance(value, int) and not -MOST <= value <= MOST:
        raise InputError(f"{option} {value:.3g} is beyond any run: the most is {MOST:.0e}.")
    if isinstance(value, str):
        if len(value) > LONGEST:
            raise InputError(
                f"{option} has {len(value):,} characters, and may have {LONGEST:,}. Give a name."
            )
        if not value.isprintable() or _is_no_text(value):
            raise InputError(
                f"{option} {value!r:.80} has characters that cannot be printed. Give a name as it "
                "is typed, without line breaks."
            )


def _is_no_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half a character, as a wrongly encoded argument has
        return True
    return False


def _layers(option: str, text: str | None, n_layers: int) -> list[int]:
    """The layers that an option names; all where it names none."""
    chosen = parse_layers(text or ":")
    there = list(range(n_layers))
    layers = there[chosen] if isinstance(chosen, slice) else list(chosen)
    if not layers or not set(layers) <= set(there):
        raise InputError(
            f"{option} {text} names a layer that is not there: "
            f"the model has layers 0 to {n_layers - 1}."
        )
    return layers


def _among(option: str, text: str, heads: list[Head], n_layers: int, n_heads: int) -> list[Head]:
    """The heads that an option names, all of which must be among `heads`."""
    wanted = parse_heads(text)
    for head in wanted:
        if head.layer >= n_layers or head.head >= n_heads:
            raise InputError(
                f"There is no head {head}: the model has layers 0 to {n_layers - 1} "
                f"and heads 0 to {n_heads - 1}."
            )
        if head not in heads:
            raise InputError(f"{option} {head}: that head is not among those that are ablated.")
    if not wanted:
        raise InputError(f"{option} names no head. Write heads as in L10H11,L9H3.")
    return list(wanted)

"""How many times faster than hooked passes the fast engine is, on a deep random model.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.hooked_rate
    OMP_NUM_THREADS=1 python -m tests.benchmarks.hooked_rate --d-model 64 256 --d-vocab 512 qwen3

Both engines measure resample ablations of the same sequence with the same weights, in turn, in
one process. The fast one is timed over all heads; in bf16 with fused steps, as in a long run. Each
hooked pass takes the same time, whichever head it is of, so that a few heads tell about all. The
unit is the head-token of a second of the processor. The logit changes are compared: a fast wrong
answer is none.
"""

import argparse
import math
import statistics
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PretrainedConfig

from selfrepair_assets.measurement.engine.interface import AblationRequest
from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model.checked_boot import architecture_of
from selfrepair_assets.measurement.model.configured import ConfiguredModel
from selfrepair_assets.measurement.model.models import LoadedModel
from selfrepair_assets.measurement.run_spec import RunSpec
from tests.helpers.models.families import ALL

LAYERS, HEADS, LENGTH, SEQUENCES = 24, 8, 128, 1
D_VOCAB = {"qwen3": 151_936, "gemma3": 262_144, "olmo2": 100_352}
"""Families that are timed where none is named, and how many tokens their models know."""


@dataclass(frozen=True)
class Rate:
    """Head-tokens in a second of either engine, and the relative error between them in fp32."""

    fast: float
    in_bf16: float
    hooked: float
    error: float

    @property
    def times(self) -> float:
        return self.fast / self.hooked


def deep_config(name: str, d_model: int) -> PretrainedConfig:
    """A family's small configuration, made as deep as today's small models, and wider."""
    config: Any = ALL[name]()
    layers = config.num_hidden_layers
    for key, value in vars(config).items():
        if isinstance(value, list) and len(value) == layers:  # one for each layer
            setattr(config, key, (value * LAYERS)[:LAYERS])
    if getattr(config, "num_kv_heads", None) == config.num_attention_heads:  # Falcon
        config.num_kv_heads = HEADS
    d_head = d_model // HEADS
    wider = {
        "num_hidden_layers": LAYERS,
        "hidden_size": d_model,
        "num_attention_heads": HEADS,
        "intermediate_size": 3 * d_model,
        "ffn_dim": 4 * d_model,  # OPT
        "word_embed_proj_dim": d_model,
        "ffn_hidden_size": 4 * d_model,  # Falcon
        "head_dim": d_head,
        "query_pre_attn_scalar": d_head,
        "rotary_dim": d_head // 2,  # GPT-J
        "max_position_embeddings": LENGTH,
        "max_seq_len": LENGTH,  # MPT
        "sliding_window": LENGTH // 2,
        "window_size": LENGTH // 2,  # GPT-Neo
    }
    for key, value in wider.items():
        derived = isinstance(getattr(type(config), key, None), property)  # as Falcon's head_dim
        if getattr(config, key, None) is not None and not derived:
            setattr(config, key, value)
    return config


def deep_model(name: str, d_model: int, d_vocab: int) -> LoadedModel:
    config: Any = deep_config(name, d_model)
    config.vocab_size = d_vocab
    of_config: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    config.architectures = [of_config.__name__]
    found = ConfiguredModel(name, architecture_of(name, config), config, torch.device("cpu"), True)
    return found.thin(LAYERS, d_vocab)


def rate(name: str, d_model: int, d_vocab: int, rounds: int = 3, with_bf16: bool = True) -> Rate:
    """Of a family that the fast engine reads and a bridge wraps."""
    loaded = deep_model(name, d_model, d_vocab)
    tokens = np.random.default_rng(0).integers(2, loaded.d_vocab, (SEQUENCES, LENGTH))
    spec = RunSpec(name, tokens=2 * LENGTH, sequence_length=LENGTH, batch_size=SEQUENCES)
    fast = Measurer(loaded, replace(spec, batch_size=None))
    fused = with_bf16  # as a long run's steps are
    in_bf16 = Measurer(loaded, replace(spec, batch_size=None), ["bf16"] * LAYERS, fused)
    hooked = Measurer(replace(loaded, folded=None), spec)
    every = [Head(layer, head) for layer in range(LAYERS) for head in range(HEADS)]
    chosen = [Head(layer, layer % HEADS) for layer in range(1, LAYERS, LAYERS // 2)]

    def timed(measurer: Measurer, heads: list[Head]) -> tuple[float, dict[Head, np.ndarray]]:
        request = AblationRequest(tokens, heads, ["resample"], tokens[:, ::-1])
        began = time.process_time()
        found = list(measurer.ablate(request))
        seconds = time.process_time() - began
        changes: dict[Head, np.ndarray] = {}
        for of in found:
            changes.update(zip(of.heads, of.columns["logit_change"].numpy(), strict=True))
        return seconds, changes

    units = len(every) * SEQUENCES * (LENGTH - 1)
    rates = []
    for measurer in (fast, in_bf16, hooked):
        timed(measurer, every[-1:])  # warms up
    if fused:
        timed(in_bf16, every[-2 * HEADS :])  # compiles
    for _ in range(rounds):
        ours, changes = timed(fast, every)
        rough, _ = timed(in_bf16, every) if with_bf16 else (math.inf, {})
        clean, _ = timed(hooked, [])
        theirs, right = timed(hooked, chosen)
        passes = (theirs - clean) / len(chosen)
        rates.append((units / ours, units / rough, units / (clean + passes * len(every))))
    a, b = (np.stack([of[head] for head in chosen]) for of in (changes, right))
    error = float(np.linalg.norm(a - b) / np.linalg.norm(b))
    fast_rate, bf16_rate, hooked_rate = (statistics.median(of) for of in zip(*rates, strict=True))
    return Rate(fast_rate, bf16_rate, hooked_rate, error)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=D_VOCAB, metavar="FAMILY")
    parser.add_argument("--d-model", type=int, nargs="+", default=[512])
    parser.add_argument("--d-vocab", type=int, help="the family's own if not given")
    choices = parser.parse_args()
    print(
        f"{LAYERS} layers of {HEADS} heads, {SEQUENCES} sequence of {LENGTH} tokens, "
        f"{torch.get_num_threads()} thread(s)"
    )
    print("| family | d_model | tokens known | fast, fp32 | bf16 | hooked | times | difference |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in choices.names:
        d_vocab = choices.d_vocab or D_VOCAB[name]
        for d_model in choices.d_model:
            of = rate(name, d_model, d_vocab)
            print(
                f"| {name} | {d_model} | {d_vocab:,} | {of.fast:,.0f} | {of.in_bf16:,.0f} "
                f"| {of.hooked:,.0f} | {of.times:.1f} ({of.in_bf16 / of.hooked:.1f} in bf16) "
                f"| {of.error:.0e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Runs foretold, and then run: how far a forecast is from what a run takes.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.forecasts
    OMP_NUM_THREADS=1 python -m tests.benchmarks.forecasts --only gpt2 llama_bf16

Each is foretold in this process from the configuration alone, as `selfrepair doctor` does, and run
in a process of its own. Seconds are those of the processor, so that others on the machine do not
count; memory is the largest resident set, disk all files of the new warehouse. Ends with 1 where a
forecast is off by more than a quarter.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    NemotronConfig,
    PretrainedConfig,
    Qwen3Config,
)

from selfrepair_assets.measurement.forecast.forecast import Forecast, foretell
from selfrepair_assets.measurement.model.bundled import NAME
from selfrepair_assets.measurement.model.configured import ConfiguredModel
from selfrepair_assets.measurement.run_spec import RunSpec
from tests.helpers.models.families import EOS, character_tokenizer
from tests.helpers.models.families import TOKENS as OF_VOCABULARY
from tests.helpers.runs.asset_runs import write_text

TOKENS = OF_VOCABULARY | {"pad_token_id": EOS}
BOUND = 0.25
RUN = (
    "import json, os, resource; from selfrepair.dagster_project.cli import main; "
    "code = main._run(); used = resource.getrusage(resource.RUSAGE_SELF); "
    "seconds, memory = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024; "
    "print('used', json.dumps([seconds, memory]), flush=True); os._exit(code)"
)


@dataclass(frozen=True)
class Case:
    """A run: the configuration of a random model (None: the bundled model), and options."""

    config: Callable[[], PretrainedConfig] | None
    options: dict[str, object] = field(default_factory=dict)


def _of(
    kind: Callable[..., PretrainedConfig], layers: int, d: int, heads: int, d_mlp: int, **more: int
) -> Callable[[], PretrainedConfig]:
    grouped = {"num_key_value_heads": heads // 2, "max_position_embeddings": 256}
    return lambda: kind(
        num_hidden_layers=layers,
        hidden_size=d,
        num_attention_heads=heads,
        intermediate_size=d_mlp,
        **{**grouped, **TOKENS, **more},
    )


CASES = {
    "llama_small": Case(_of(LlamaConfig, 6, 256, 8, 768), {"tokens": 8192}),
    "llama_bf16": Case(_of(LlamaConfig, 12, 512, 8, 1536), {"tokens": 4096, "precision": "bf16"}),
    "llama_deep": Case(_of(LlamaConfig, 24, 256, 8, 768), {"tokens": 4096}),
    "gpt2": Case(
        lambda: GPT2Config(n_layer=8, n_head=8, n_embd=512, n_positions=256, **TOKENS),
        {"tokens": 4096, "ablations": ("resample", "mean", "zero")},
    ),
    "qwen3": Case(_of(Qwen3Config, 12, 384, 6, 1024, head_dim=64), {"tokens": 2048}),
    "gemma3": Case(
        _of(Gemma3TextConfig, 8, 384, 4, 1536, head_dim=96, num_key_value_heads=1),
        {"tokens": 4096, "layers": "4:"},
    ),
    "nemotron_hooked": Case(
        _of(NemotronConfig, 4, 256, 4, 768), {"tokens": 2048, "reinforcement_sequences": 4}
    ),
    "bundled": Case(None, {"tokens": 512}),
    "bundled_upper": Case(None, {"tokens": 1024, "layers": "24:", "precision": "bf16"}),
}


def save(config: PretrainedConfig, folder: Path) -> str:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    character_tokenizer(prepend_bos=False).save_pretrained(folder)
    return str(folder)


def foretold(spec: RunSpec) -> tuple[Forecast, float]:
    """A forecast in seconds of the processor, and how long it took to make."""
    began = time.process_time()
    found = ConfiguredModel.find(spec.model, center_unembed=spec.center_unembed)
    forecast, _ = foretell(spec, found, time.process_time)
    return forecast, time.process_time() - began


def used(spec: RunSpec, root: Path) -> tuple[float, int, int]:
    """Seconds of the processor, bytes of memory at most, and bytes of disk of one run."""
    words = []
    for name, value in spec.as_typed().items():
        if value is not None and name != "model" and name != "center_unembed":
            words += ["--" + name.replace("_", "-"), value]
    seconds, memory = run([spec.model, *words, "--warehouse", str(root)])
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return seconds, memory, sum(path.stat().st_size for path in files)


def run(arguments: list[str]) -> tuple[float, int]:
    """Seconds of the processor and bytes of memory at most of one `selfrepair run`."""
    command = [sys.executable, "-c", RUN, "run", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    seconds, memory = json.loads(done.stdout.rsplit("used ", 1)[1])
    return seconds, memory


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--folder", type=Path, help="keeps the warehouses; a temporary one if not")
    choices = parser.parse_args()
    print(f"{torch.get_num_threads()} thread(s), load {os.getloadavg()[0]:.1f}")
    print("| run | way | seconds | memory | disk | foretold in |")
    print("| --- | --- | --- | --- | --- | --- |")
    worst = 0.0
    for name in choices.only:
        case = CASES[name]
        with tempfile.TemporaryDirectory() as temporary:
            folder = (choices.folder or Path(temporary)) / name
            folder.mkdir(parents=True)
            model, corpus = NAME, "python-docs"
            if case.config is not None:
                model = save(case.config(), folder / "model")
                corpus = str(write_text(folder / "text.txt", 200_000))
            spec = RunSpec(model, corpus=corpus, **case.options)  # type: ignore[arg-type]
            forecast, took = foretold(spec)
            assert forecast.seconds is not None
            seconds, memory, disk = used(spec, folder / "data")
        cells = []
        for ours, theirs, unit in (
            (forecast.seconds, seconds, 1.0),
            (forecast.memory, memory, 1e9),
            (forecast.disk, disk, 1e6),
        ):
            worst = max(worst, abs(ours / theirs - 1))
            cells.append(f"{ours / unit:.3g} for {theirs / unit:.3g} ({ours / theirs - 1:+.0%})")
        way = "fast" if forecast.times_fast is None else f"hooked, {forecast.times_fast:.0f} times"
        print(f"| {name} | {way} | {' | '.join(cells)} | {took:.1f} s |", flush=True)
    print(f"\nforetold for measured: seconds, GB, MB; the worst is off by {worst:.0%}")
    return worst > BOUND


if __name__ == "__main__":
    sys.exit(main())

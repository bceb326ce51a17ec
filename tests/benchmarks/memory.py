"""Peak memory of a whole run at N tokens and at 16 N: measure, check, publish, summary.

    python -m tests.benchmarks.memory                 a random GPT-2 of 4 layers, 4,096 tokens
    python -m tests.benchmarks.memory --tokens 8192
    python -m tests.benchmarks.memory --model smollm2-135m-instruct --tokens 1024 --precision bf16

Each run is a process of its own, whose largest resident set the kernel tells when it ends. The
shards' size is given by the plan, as a user's would be.
"""

import argparse
import tempfile
import time
from pathlib import Path

from transformers import GPT2Config

from tests.benchmarks.forecasts import TOKENS, run, save
from tests.helpers.runs.asset_runs import write_text

TIMES = 16
LENGTH = 64


def peak_of_run(arguments: list[str], root: Path, tokens: int) -> tuple[int, float]:
    """Bytes of the largest resident set of one `selfrepair run`, and its seconds."""
    began = time.monotonic()
    _, peak = run([*arguments, "--tokens", str(tokens), "--warehouse", str(root)])
    return peak, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--model", help="the bundled model's name, or a folder")
    parser.add_argument("--precision", default="fp32")
    options = parser.parse_args()
    tokens = options.tokens
    with tempfile.TemporaryDirectory() as folder:
        if options.model:
            arguments = [options.model]
        else:
            text = write_text(Path(folder) / "text.txt", TIMES * tokens + 1000)
            config = GPT2Config(n_layer=4, n_head=8, n_embd=128, n_positions=LENGTH, **TOKENS)
            model = save(config, Path(folder) / "model")
            arguments = [model, "--corpus", str(text), "--sequence-length", str(LENGTH)]
        arguments += ["--precision", options.precision]
        peaks = []
        for n in (tokens, TIMES * tokens):
            peak, seconds = peak_of_run(arguments, Path(folder) / str(n), n)
            peaks.append(peak)
            print(f"{n:>9,} tokens: {peak / 1e6:,.0f} MB at most, {seconds:.0f} s", flush=True)
    print(f"{TIMES} times the tokens take {peaks[1] / peaks[0] - 1:+.1%} memory")


if __name__ == "__main__":
    main()

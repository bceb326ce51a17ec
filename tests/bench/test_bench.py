"""`selfrepair bench` on tiny models: what it times, counts, compares and prints."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from selfrepair_assets.bench import architectures
from selfrepair_assets.bench.architectures import ARCHITECTURES, random_model
from selfrepair_assets.bench.speed import AUTHORS, Bench, counted, usual_sequences
from selfrepair_assets.bench.table import relative_errors
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model.models import forget_models, load_model
from selfrepair_assets.measurement.products.precision import LinearMap
from tests.helpers.models.families import random_tokens, save
from tests.helpers.runs.cli_runs import Said, refused

TINY = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
TINY |= {"hidden_size": 16, "intermediate_size": 24, "vocab_size": 50}
SMALL = ("--sequence-length", "12", "--rounds", "2")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("selfrepair_assets.bench.speed.PRODUCT_SECONDS", 0.001)
    monkeypatch.setitem(architectures.ARCHITECTURES, "llama-7b", ("llama", TINY))
    yield
    forget_models()


def rows(out: str) -> list[list[str]]:
    """The cells of the table's rows, below its head."""
    lines = [line for line in out.splitlines() if line.startswith("| ")]
    assert lines[1] == "| --- | --- | --- | --- | --- | --- |"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.usefixtures("tiny")
def test_an_architecture_is_compared_with_random_weights(selfrepair: Callable[..., Said]) -> None:
    code, out, err = selfrepair("bench", "--architecture", "llama-7b", "--device", "cpu", *SMALL)
    assert code == 0, err
    assert "random llama-7b, 2 layers of 4 heads, 16 sequences of 12 tokens, on cpu" in out
    assert "bench: " in err, "its progress"
    ways = rows(out)
    assert [row[1] for row in ways] == [AUTHORS, "this, fp32", "this, bf16"]
    for row in ways:
        median, least, _, most = row[2].replace(",", "").split()
        assert 0 < float(least[1:]) <= float(median) <= float(most[:-1])
        assert "%" in row[4]
    assert ways[0][3] == "1"
    assert float(ways[1][5]) < 1e-3 < float(ways[2][5]) * 1e3


@pytest.mark.parametrize(
    ("n_heads", "length", "sequences"), [(9, 128, 3), (12, 128, 2), (32, 128, 2), (4, 12, 16)]
)
@pytest.mark.usefixtures("tiny")
def test_a_batch_is_what_a_long_run_takes_at_once(
    n_heads: int, length: int, sequences: int
) -> None:
    loaded = replace(random_model("llama-7b", "cpu"), n_heads=n_heads)
    assert usual_sequences(loaded, length) == sequences
    assert usual_sequences(replace(loaded, device=torch.device("cuda")), length) == 16


@pytest.mark.usefixtures("tiny")
def test_what_is_compiled_is_compiled_before_the_first_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        architectures.ARCHITECTURES, "llama-7b", ("llama", TINY | {"num_hidden_layers": 5})
    )
    bench = Bench(random_model("llama-7b", "cpu"), random_tokens(2, 12, seed=1).numpy())
    layers = ["bf16_fp32", "bf16_fp32", "bf16", "bf16", "bf16"]
    bench.exact.layer_precision = layers
    heads = bench._to_compile(bench.exact)
    assert {head.layer for head in heads} == {1, 3, 4}, "the last of each sort, and the last"
    assert len(heads) == 3 * 4


@pytest.mark.usefixtures("tiny")
def test_a_model_is_compared_on_text(selfrepair: Callable[..., Said], tmp_path: Path) -> None:
    folder = save("gpt_neox", tmp_path)
    words = ("bench", folder, "--precision", "fp32", "--sequences", "3", "--clock", "cpu", *SMALL)
    code, out, err = selfrepair(*words)
    assert code == 0, err
    assert [row[1] for row in rows(out)] == [AUTHORS, "this, fp32"]
    assert float(rows(out)[1][5]) < 1e-4


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "Name a MODEL, or an --architecture"),
        (("gpt2", "--architecture", "gpt2-small"), "not both"),
        (("--architecture", "gpt5"), "gpt2-small"),
        (("--architecture", "llama-7b", "--precision", "fp8"), "fp32, tf32, bf16"),
        (("--architecture", "llama-7b", "--precision", "tf32"), "has no TF32"),
        (("--architecture", "llama-7b", "--device", "gpu"), "auto, cpu, cuda"),
    ],
)
@pytest.mark.usefixtures("tiny")
def test_what_cannot_be_compared_is_refused(
    words: tuple[str, ...], says: str, selfrepair: Callable[..., Said]
) -> None:
    assert says in refused(selfrepair("bench", *words))


def test_what_only_the_hooked_engine_measures_is_refused(
    selfrepair: Callable[..., Said], tmp_path: Path
) -> None:
    assert "nothing to compare" in refused(selfrepair("bench", save("phi", tmp_path)))
    forget_models()


def test_values_and_operations_of_both_ways(tmp_path: Path) -> None:
    loaded = load_model(str(save("llama", tmp_path)), device="cpu")
    told: list[int] = []
    bench = Bench(loaded, random_tokens(3, 12).numpy())
    found = bench.compare(["fp32"], 2, 1, told.append)
    assert sum(told) == bench.work(["fp32"], 2, 1)
    authors, ours = found.ways.values()
    assert len(authors.rates) == len(ours.rates) == len(found.matrix_rates["fp32"]) == 2
    assert len(authors.logit_changes) == 6  # another head of each layer in each round
    assert len(ours.logit_changes) == 12
    errors = relative_errors(ours.logit_changes, authors.logit_changes)
    assert set(errors) == {0, 1, 2}
    assert max(errors.values()) < 1e-4
    # Counted from one head of each layer, and by running all of them.
    every = counted(lambda: list(bench.exact.ablate(bench._request(bench.heads))))
    assert ours.flops == every
    assert authors.flops > 4 * ours.flops
    forget_models()


def test_operations_of_a_product_by_hand() -> None:
    x, w = torch.zeros(5, 3), torch.zeros(7, 3)
    assert counted(lambda: torch.nn.functional.linear(x, w)) == 2 * 5 * 3 * 7
    of_bf16 = LinearMap(w, torch.zeros(7))
    assert counted(lambda: of_bf16.of_change(x, "bf16_fp32")) == 2 * 5 * 3 * 7
    q, k = torch.zeros(2, 4, 6, 8), torch.zeros(2, 2, 6, 8)
    attend = torch.nn.functional.scaled_dot_product_attention
    with torch.inference_mode():
        assert counted(lambda: attend(q, k, k, enable_gqa=True)) == 2 * 2 * 4 * 2 * 6 * 6 * 8


def test_relative_error_by_hand() -> None:
    reference = {Head(0, 0): np.array([3.0, 0.0]), Head(0, 1): np.array([0.0, 4.0])}
    measured = {Head(0, 0): np.array([3.0, 0.0]), Head(0, 1): np.array([0.0, 4.5])}
    assert relative_errors(measured, reference) == {0: 0.1}


@pytest.mark.parametrize("name", ["pythia-160m", "gpt2-small", "gpt2-medium", "llama-7b"])
def test_the_papers_models_have_their_parameters(name: str) -> None:
    """As their authors count them."""
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type, sizes = ARCHITECTURES[name]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **sizes))
    counts = {"pythia-160m": 162_322_944, "gpt2-small": 124_439_808}
    counts |= {"gpt2-medium": 354_823_168, "llama-7b": 6_738_415_616}
    assert sum(p.numel() for p in model.parameters()) == counts[name]


def test_random_weights_are_the_same_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(architectures.ARCHITECTURES, "llama-7b", ("llama", TINY))
    one, other = (random_model("llama-7b", "cpu") for _ in range(2))
    assert torch.equal(one.logits(torch.arange(8)[None]), other.logits(torch.arange(8)[None]))

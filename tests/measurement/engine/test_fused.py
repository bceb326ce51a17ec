"""Fused steps give what plain ones give, and where they cannot be had, plain ones are taken."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from selfrepair_assets.measurement.engine import fused
from selfrepair_assets.measurement.engine.change import PLAIN, CleanRun, Followed, Step
from selfrepair_assets.measurement.engine.fused import LEAST_ROWS, FusedStep, is_worth
from selfrepair_assets.measurement.engine.measure import Measurer
from tests.helpers.models.engine_truth import ablate, loaded, spec_of, truth
from tests.helpers.models.families import random_tokens

LAYER = 1  # of three


@pytest.fixture(autouse=True)
def _compiled_anew() -> Iterator[None]:
    torch._dynamo.reset()
    fused.fused_steps.cache_clear()
    yield
    torch._dynamo.reset()
    fused.fused_steps.cache_clear()


def followed(step: Step, name: str, rows: int = LEAST_ROWS, precision: str = "bf16") -> Followed:
    """A random change of what block `LAYER` reads, followed through it."""
    model = loaded(name).folded
    assert model is not None
    generator = torch.Generator().manual_seed(rows)
    with torch.inference_mode():
        clean = CleanRun.of(model, random_tokens(2, 12, seed=1))
        at = clean.blocks[LAYER]
        delta = torch.randn((rows, *at.layer.resid_pre.shape), generator=generator)
        return step(at, delta, precision, False)


def tensors(of: Followed) -> list[Tensor]:
    return [value for value in vars(of).values() if value is not None]


# Sequential with a plain MLP; gated with post-norms, a cap and a window; parallel with GELU.
@pytest.mark.parametrize(
    ("name", "precision"),
    [("gpt2", "bf16"), ("gemma2", "bf16"), ("gpt_neox", "bf16"), ("gemma2", "bf16_fp32")],
)
def test_a_fused_step_agrees_with_the_plain_one(name: str, precision: str) -> None:
    step = FusedStep(PLAIN.block)
    for rows in (LEAST_ROWS, LEAST_ROWS + 3):  # the first is compared and compiled, both for any
        right, ours = (followed(s, name, rows, precision) for s in (PLAIN.block, step))
        assert step._fused is not None, "it was not compiled"
        for fused_value, plain_value in zip(tensors(ours), tensors(right), strict=True):
            error = (fused_value - plain_value).norm() / plain_value.norm()
            assert error < 1e-2
    assert len(step._compared) == 1


def test_a_whole_measurement_with_fused_steps_keeps_the_bound() -> None:
    expected, model = truth("llama"), loaded("llama")
    fast = ["bf16"] * model.n_layers
    measured, plain = (
        ablate(Measurer(model, spec_of(precision="bf16"), fast, fused), expected)
        for fused in (True, False)
    )
    steps = fused.fused_steps()
    assert isinstance(steps.mid, FusedStep)
    assert isinstance(steps.block, FusedStep)
    assert steps.mid._compared
    assert steps.block._compared
    for key, columns in measured.items():
        right = expected.columns[key]["logit_change"]
        error, of_plain = (
            (values["logit_change"] - right).norm() / right.norm()
            for values in (columns, plain[key])
        )
        assert error < 2e-2 or error < 1.2 * of_plain, key


@pytest.mark.parametrize("error", [torch._dynamo.exc.TorchDynamoException, OSError, ImportError])
def test_a_block_of_another_sort_is_compared_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    step, compiled = FusedStep(PLAIN.block), PLAIN.block

    def breaks(*_: Any) -> Followed:
        raise error("no space left\nand a long story")

    monkeypatch.setattr(step, "_fused", compiled)
    followed(step, "gpt2")
    monkeypatch.setattr(step, "_fused", breaks)
    ours, right = followed(step, "gpt_neox"), followed(PLAIN.block, "gpt_neox")
    assert all(map(torch.equal, tensors(ours), tensors(right)))
    assert "they cannot be compiled (no space left and a long story)" in caplog.text
    followed(step, "gpt2")


def test_what_is_in_fp32_is_not_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    step = FusedStep(PLAIN.block)

    def compiled(*_: Any) -> Followed:
        raise AssertionError("the compiled step was taken")

    monkeypatch.setattr(step, "_fused", compiled)
    followed(step, "gpt2", precision="fp32")


def test_few_rows_are_fused_too_so_that_what_is_watched_is_what_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step, taken = FusedStep(PLAIN.block), []

    def compiled(at: Any, delta: Tensor, *more: Any) -> Followed:
        taken.append(len(delta))
        return PLAIN.block(at, delta, *more)

    monkeypatch.setattr(step, "_fused", compiled)
    for rows in (1, LEAST_ROWS - 1):
        ours, right = followed(step, "gpt2", rows), followed(PLAIN.block, "gpt2", rows)
        for fused_value, plain_value in zip(tensors(ours), tensors(right), strict=True):
            assert fused_value.shape == plain_value.shape
            assert (fused_value - plain_value).norm() < 1e-6 * plain_value.norm()
    assert taken == [LEAST_ROWS] * 2


@pytest.mark.parametrize("field", ["resid_post", "z", "heads_effect", "mlp_effect"])
@pytest.mark.parametrize("wrong", [float("nan"), 1.0])
def test_one_wrong_number_of_a_compiled_step_is_seen(field: str, wrong: float) -> None:
    zero = torch.zeros(2, 3)
    right = Followed(zero, zero, zero, zero, None)
    there = replace(right, **{field: torch.full((2, 3), wrong)})
    assert not fused._difference(there, right) <= max(fused.TOLERANCE.values())
    assert fused._difference(right, right) == 0


def test_without_a_compiler_the_plain_step_is_taken_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # nothing is there from before
    step = FusedStep(PLAIN.block)
    with (
        caplog.at_level(logging.WARNING),
        torch._inductor.config.patch({"cpp.cxx": (str(tmp_path / "no-compiler"),)}),
    ):
        ours = followed(step, "gpt2")
    right = followed(PLAIN.block, "gpt2")
    assert all(map(torch.equal, tensors(ours), tensors(right)))
    assert step._fused is None
    assert "goes on without fused steps, and is slower: they cannot be compiled" in caplog.text
    assert "\n" not in caplog.messages[-1]


def test_what_is_compiled_is_kept_where_nobody_else_writes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SELFREPAIR_CACHE", str(tmp_path))
    # As torch sets it when it is imported, and transformers imports it.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(Path(default_cache_dir()).absolute()))
    step = fused.fused_steps().block
    assert isinstance(step, FusedStep)
    followed(step, "gpt2")
    assert step._compared
    assert any(path.is_file() for path in (tmp_path / "fused").rglob("*"))


def test_a_step_that_was_compiled_wrongly_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    step = FusedStep(PLAIN.block)

    def wrong(*arguments: Any) -> Followed:
        right = PLAIN.block(*arguments)
        return replace(right, mlp_effect=1.05 * right.mlp_effect)

    monkeypatch.setattr(step, "_fused", wrong)
    ours, right = followed(step, "gpt2"), followed(PLAIN.block, "gpt2")
    assert all(map(torch.equal, tensors(ours), tensors(right)))
    assert "what was compiled differs by 0.05" in caplog.text
    assert all(map(torch.equal, tensors(followed(step, "gpt2")), tensors(right)))


def test_a_long_run_in_bf16_is_worth_it() -> None:
    model = loaded("gpt2").folded
    assert model is not None
    long = spec_of(precision="bf16", tokens=10**10)
    assert is_worth(long, model)
    assert not is_worth(spec_of(precision="fp32", tokens=10**10), model)
    assert not is_worth(spec_of(precision="bf16"), model)
    in_between = spec_of(precision="bf16", tokens=10**7)
    assert not is_worth(in_between, model)
    assert is_worth(in_between, model, n_layers=300)
    assert not is_worth(spec_of(precision="tf32"), model)


def test_a_gpu_takes_more_work_for_it_and_other_devices_are_never_fused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = loaded("gpt2").folded
    assert model is not None
    worth = {}
    for kind in ("cpu", "cuda", "mps"):
        monkeypatch.setattr(type(model), "device", torch.device(kind))
        runs = [spec_of(precision="bf16", tokens=10**n) for n in (9, 12)]
        worth[kind] = [is_worth(spec, model) for spec in runs]
    assert worth == {"cpu": [True, True], "cuda": [False, True], "mps": [False, False]}

"""Bad input gets one clear line and exit code 2, and leaves the warehouse as it was."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from selfrepair_assets.measurement import measure
from tests import fake_hub
from tests.cli_runs import Said, denied, mounted, refused, small, snapshot

BAD_OPTIONS = {
    "too few tokens for two sequences": (["--tokens", "31"], "resampling needs two"),
    "longer than the context": (["--tokens", "300", "--sequence-length", "65"], "64"),
    "a layer that is not there": (["--layers", "3:5"], "layers 0 to 2"),
    "a head that is not there": (["--heads", "L1H4"], "heads 0 to 3"),
    "no head": (["--heads", "L1"], "L10H11"),
    "an unknown ablation": (["--ablations", "resample,noise"], "noise"),
    "no ablation": (["--ablations", ""], "resample, mean, zero"),
    "an unknown precision": (["--precision", "fp8"], "fp32, bf16"),
    "an unknown corpus": (["--corpus", "no-such-corpus"], "no-such-corpus"),
    "a path that is not there": (["--corpus", "./no/such.txt"], "such.txt"),
    "more text than there is": (["--tokens", "9000000"], "text"),
    "no cuda": (["--device", "cuda"], "CUDA"),
    "an unknown device": (["--device", "tpu"], "tpu"),
    "no number": (["--tokens", "many"], "many"),
    "an unknown option": (["--tokenz", "9"], "--tokenz"),
    "a batch of nothing": (["--batch-size", "0"], "batch"),
    "a share above one": (["--top-fraction", "2"], "top-fraction"),
    "neurons of a head that is not ablated": (
        ["--heads", "L1H1", "--neuron-heads", "L0H0"],
        "L0H0",
    ),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(
    case: str, gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    if case == "no cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    options, expected = BAD_OPTIONS[case]
    base = ["--corpus", gpt2_folder / "text.txt", *small(), "--warehouse", tmp_path / "data"]
    line = refused(selfrepair("run", gpt2_folder / "gpt2", *base, *options))
    assert expected in line
    assert not (tmp_path / "data").exists()


def test_an_engine_that_disagrees_with_the_model_measures_nothing(
    gpt2_folder: Path,
    tmp_path: Path,
    selfrepair: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "LOGIT_TOLERANCE", -1.0)
    base = ["--corpus", gpt2_folder / "text.txt", *small(), "--warehouse", tmp_path / "data"]
    code, _, err = selfrepair("run", gpt2_folder / "gpt2", *base)
    assert code == 2
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Nothing was measured" in line
    assert "Traceback" not in err
    assert not list((tmp_path / "data").rglob("*.parquet"))


def nothing(path: Path) -> None:
    path.write_text("")


def latin(path: Path) -> None:
    path.write_bytes("Bär und Käse ".encode("latin-1") * 500)


def a_folder(path: Path) -> None:
    path.mkdir()


BAD_TEXTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "empty": ("t.txt", nothing),
    "not UTF-8": ("t.txt", latin),
    "a folder": ("t.txt", a_folder),
    "broken jsonl": ("t.jsonl", lambda path: path.write_text('{"text": "a"}\n{"text": ')),
    "no column of text": ("t.jsonl", lambda path: path.write_text('{"n": 1}\n' * 9)),
    "broken parquet": ("t.parquet", lambda path: path.write_bytes(b"PAR1 no")),
    "another kind of file": ("t.docx", lambda path: path.write_text("text")),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_bad_texts(
    case: str, gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    name, make = BAD_TEXTS[case]
    make(tmp_path / name)
    base = ["--corpus", tmp_path / name, *small(), "--warehouse", tmp_path / "data"]
    assert name in refused(selfrepair("run", gpt2_folder / "gpt2", *base))
    assert not (tmp_path / "data").exists()


def without(name: str) -> Callable[[Path], object]:
    def remove(model: Path) -> None:
        for path in model.glob(name):
            path.unlink()

    return remove


def with_nan(model: Path) -> None:
    weights: Any = AutoModelForCausalLM.from_pretrained(model)
    weights.transformer.h[1].mlp.c_fc.weight.data[0, 0] = float("nan")
    weights.save_pretrained(model)


BAD_MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (without("*.safetensors"), "weights"),
    "no tokenizer": (without("tokenizer*"), "tokenizer"),
    "no configuration": (without("config.json"), "config.json"),
    "cut weights": (
        lambda model: os.truncate(model / "model.safetensors", 900),
        "model.safetensors",
    ),
    "NaN in the weights": (with_nan, "NaN"),
    "nothing": (without("*"), "model"),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_bad_models(
    case: str, gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    break_it, expected = BAD_MODELS[case]
    shutil.copytree(gpt2_folder / "gpt2", tmp_path / "model")
    break_it(tmp_path / "model")
    base = ["--corpus", gpt2_folder / "text.txt", *small(), "--warehouse", tmp_path / "data"]
    assert expected in refused(selfrepair("run", tmp_path / "model", *base))
    assert not (tmp_path / "data").exists()


def test_unknown_model_and_no_network(tmp_path: Path) -> None:
    """In processes of their own, as the hub's library reads its settings once."""
    with fake_hub.running() as hub:
        cases = {  # nothing listens at port 9
            "has no model": {"HF_ENDPOINT": hub.endpoint},
            "cannot be reached": {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "HF_HUB_OFFLINE": {"HF_HUB_OFFLINE": "1"},
        }
        for expected, environment in cases.items():
            done = subprocess.run(
                [
                    *(Path(sys.executable).with_name("selfrepair"), "run", "nobody/no-such-model"),
                    *("--warehouse", tmp_path / "data"),
                ],
                capture_output=True,
                text=True,
                timeout=120,
                env=os.environ | environment | {"HF_HOME": str(tmp_path / "hub")},
            )
            line = refused((done.returncode, done.stdout, done.stderr))
            assert "nobody/no-such-model" in line
            assert expected in line
            assert not (tmp_path / "data").exists()


def test_other_settings_need_restart(
    gpt2_warehouse: Path, gpt2_folder: Path, selfrepair: Callable[..., Said]
) -> None:
    before = snapshot(gpt2_warehouse)
    base = ["--corpus", gpt2_folder / "text.txt", *small(), "--warehouse", gpt2_warehouse]
    line = refused(selfrepair("run", gpt2_folder / "gpt2", *base, "--seed", "1"))
    assert "--restart" in line
    assert "seed: 0, not 1" in line
    text = (gpt2_folder / "text.txt").read_text()
    try:
        (gpt2_folder / "text.txt").write_text(text[1:])
        line = refused(selfrepair("run", gpt2_folder / "gpt2", *base))
    finally:
        (gpt2_folder / "text.txt").write_text(text)
    assert "another text" in line
    assert "--restart" in line
    assert snapshot(gpt2_warehouse) == before


def test_a_warehouse_that_is_a_file(
    gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    (tmp_path / "data").write_text("mine")
    base = ["--corpus", gpt2_folder / "text.txt", *small()]
    for command in (["run", gpt2_folder / "gpt2", *base], ["status"], ["publish"]):
        for root in (tmp_path / "data", tmp_path / "data" / "below"):
            line = refused(selfrepair(*command, "--warehouse", root))
            assert "file" in line, (command, root)
    assert snapshot(tmp_path) == {"data": hashlib.sha256(b"mine").hexdigest()}


def test_a_read_only_warehouse(
    gpt2_warehouse: Path, gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    base = ["--corpus", gpt2_folder / "text.txt", *small()]
    with mounted(tmp_path / "disk", "-o", "size=200m") as disk:
        shutil.copytree(gpt2_warehouse, disk / "data", symlinks=True)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        before = snapshot(disk)
        for root in (disk / "data", disk / "new"):
            line = refused(selfrepair("run", gpt2_folder / "gpt2", *base, "--warehouse", root))
            assert "read-only" in line
        assert selfrepair("status", "--warehouse", disk / "data")[0] == 0
        for command in (["publish"], ["delete", gpt2_folder / "gpt2", "--yes"]):
            assert "read-only" in refused(selfrepair(*command, "--warehouse", disk / "data"))
        assert snapshot(disk) == before


def test_a_warehouse_that_may_not_be_looked_into(
    gpt2_warehouse: Path, gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    shutil.copytree(gpt2_warehouse, tmp_path / "data", symlinks=True)
    before = snapshot(tmp_path)
    model = gpt2_folder / "gpt2"
    with denied(tmp_path / "data"):
        for command in (["status"], ["publish"], ["publish", model], ["delete", model, "--yes"]):
            line = refused(selfrepair(*command, "--warehouse", tmp_path / "data"))
            assert "permission denied" in line, command
            assert str(tmp_path / "data") in line, command
    assert snapshot(tmp_path) == before


def test_a_full_disk(
    gpt2_warehouse: Path, gpt2_folder: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> None:
    base = ["--corpus", gpt2_folder / "text.txt", *small()]
    with mounted(tmp_path / "disk", "-o", "size=30m") as disk:
        for root in (disk / "data", disk / "new"):
            line = refused(selfrepair("run", gpt2_folder / "gpt2", *base, "--warehouse", root))
            assert "free" in line
        assert snapshot(disk) == {}
        # Full in the middle of a run: what is served stays, and no half file is left.
        shutil.copytree(gpt2_warehouse, disk / "data", symlinks=True)
        before = snapshot(disk / "data")
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 2**14))
        line = refused(selfrepair("publish", gpt2_folder / "gpt2", "--warehouse", disk / "data"))
        assert "disk is full" in line
        (disk / "filler").unlink()
        left = {k: v for k, v in snapshot(disk / "data").items() if k in before}
        assert {k for k in before if left.get(k) != before[k]} <= {"runs"}
        code, _, err = selfrepair("publish", gpt2_folder / "gpt2", "--warehouse", disk / "data")
        assert code == 0, err


def test_the_disk_fills_up_while_measuring(
    gpt2_folder: Path,
    tmp_path: Path,
    selfrepair: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from selfrepair_assets import steps

    monkeypatch.setattr(steps, "refuse_full_disk", lambda *_: None)
    base = ["--corpus", gpt2_folder / "text.txt", *small()]
    with mounted(tmp_path / "disk", "-o", "size=1500k") as disk:
        code, _, err = selfrepair("run", gpt2_folder / "gpt2", *base, "--warehouse", disk / "data")
        assert code == 2, err
        assert "Traceback" not in err
        assert err.splitlines()[-1].startswith("error: ")
        assert "full" in err.splitlines()[-1]
        assert not list(disk.rglob("*.tmp-*"))

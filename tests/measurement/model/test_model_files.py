"""A model's name becomes a complete folder: a local one, or one that the hub has."""

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from selfrepair_assets.measurement import hub
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model import models
from selfrepair_assets.measurement.model.find_model import find_model
from tests.helpers.models import fake_hub


def test_names_that_are_paths(gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("/nowhere/model", "./model", "a/b/c", "model/"):
        with pytest.raises(InputError, match=re.escape(f"There is no folder '{name}'")):
            find_model(name)
    with pytest.raises(InputError, match=r"is a file\. A model is given as its folder"):
        find_model(str(gpt2 / "config.json"))
    with pytest.raises(InputError, match="has no revisions"):
        find_model(str(gpt2), revision="main")
    with pytest.raises(InputError, match="not a model on the hub and not a path"):
        find_model("two words")
    monkeypatch.setenv("HOME", str(gpt2.parent))
    assert find_model(f"~/{gpt2.name}").path == gpt2


@pytest.fixture
def the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_hub.FakeHub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with fake_hub.running() as running:
        monkeypatch.setattr(hub, "ENDPOINT", running.endpoint)
        yield running


def test_a_model_of_the_hub_is_fetched_once(
    the_hub: fake_hub.FakeHub, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copied / "pytorch_model.bin").write_bytes(b"the same weights again")
    (copied / "picture.png").write_bytes(b"")
    the_hub.models["owner/name"] = copied
    told: list[str] = []
    loaded = models.load_model("owner/name", revision="v1", notify=told.append)
    models.forget_models()
    assert (loaded.name, loaded.commit) == ("owner/name", fake_hub.COMMIT)
    assert told == ["Fetching owner/name (0.0 GB) unless it is on this machine already"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(the_hub.fetched)
    assert not {"pytorch_model.bin", "picture.png"} & set(the_hub.fetched)

    the_hub.fetched.clear()
    assert find_model("owner/name").commit == fake_hub.COMMIT
    assert the_hub.fetched == []

    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    for revision in (None, "v1", fake_hub.COMMIT):
        assert find_model("owner/name", revision, told.append).commit == fake_hub.COMMIT
        assert (
            told[-1] == "The hub cannot be reached: owner/name is taken from this machine's cache"
        )


def test_what_the_hub_refuses(the_hub: fake_hub.FakeHub, copied: Path) -> None:
    the_hub.models["owner/name"] = copied
    the_hub.refusals["owner/gated"] = (403, "GatedRepo")
    the_hub.refusals["owner/down"] = (503, "")
    (copied / "model.safetensors").rename(copied / "model.gguf")
    for name, revision, message in (
        ("owner/none", None, "The hub has no model 'owner/none'. Check the spelling"),
        ("owner/name", "v2", "has no revision 'v2'"),
        ("owner/gated", None, "is gated. Accept its terms on huggingface.co/owner/gated"),
        ("owner/down", None, "The hub answered 503"),
        ("owner/name", None, "has neither model.safetensors nor pytorch_model.bin"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            find_model(name, revision)


@pytest.mark.parametrize("listens", [True, False])
def test_without_a_network_the_answer_is_quick(
    listens: bool, the_hub: fake_hub.FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes a connection, never answers
        port = silent.getsockname()[1] if listens else 9
        monkeypatch.setattr(hub, "ENDPOINT", f"http://127.0.0.1:{port}")
        started = time.monotonic()
        with pytest.raises(InputError, match="The hub cannot be reached for the model 'gpt2'"):
            find_model("gpt2")
        assert time.monotonic() - started < 3

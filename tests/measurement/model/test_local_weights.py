"""A local folder's own weights are measured, whatever the folder's name is elsewhere."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources.transformers import source
from transformer_lens.tools.model_registry.registry_io import load_model_aliases
from transformers import AutoModelForCausalLM

from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model import models
from selfrepair_assets.measurement.model.bundled import NAME as BUNDLED
from selfrepair_assets.measurement.model.checked_boot import (
    architecture_of,
    boot,
    configuration,
    load_tokenizer,
)
from selfrepair_assets.measurement.model.find_model import find_model
from selfrepair_assets.measurement.model.weights import refuse_foreign_weights, weights_sha256
from tests.helpers.models import families

ALIASES = load_model_aliases()
NAMES = [
    *("gpt2-small", "pythia-160m", "pythia-410m", "pythia-1b", "llama-7b", "gpt-j", "gpt-neo-125M"),
    *("opt-125m", "mistral-7b", "qwen2-0.5b", "gemma-2b", "phi-2", "mixtral", "bloom-560m"),
    *("gpt2-xs", "pythia", "neox", "attn-only-2l", "gelu-2l", "EleutherAI/pythia-125m"),
]
OFFICIAL = ["gpt2", "distilgpt2", "EleutherAI/pythia-160m"]
TOKENS = families.random_tokens(2, 12)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save("gpt2", tmp_path_factory.mktemp("other"), seed=1)


@pytest.fixture(autouse=True)
def _no_model_kept() -> Iterator[None]:
    yield
    models.forget_models()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def linked(files: Path, folder: Path) -> Path:
    """A folder of its own whose files are links to those of another."""
    folder.mkdir(parents=True)
    for file in files.iterdir():
        (folder / file.name).symlink_to(file)
    return folder


@cache
def logits_of(folder: Path) -> Tensor:
    """What transformers itself answers."""
    with torch.no_grad():
        logits: Tensor = AutoModelForCausalLM.from_pretrained(folder)(TOKENS).logits
    return logits - logits.mean(-1, keepdim=True)


def assert_logits_are_those_in(folder: Path, model: str) -> None:
    loaded = models.load_model(model, device="cpu")
    measured = loaded.logits(TOKENS)
    measured -= measured.mean(-1, keepdim=True)
    expected = logits_of(folder)
    assert (measured - expected).abs().max() < 1e-5 * expected.abs().max()
    assert loaded.name == model


def test_the_names_are_those_that_transformer_lens_takes_for_others() -> None:
    aliases = {alias for names in ALIASES.values() for alias in names}
    assert len(set(NAMES)) == 20
    assert set(NAMES) <= aliases
    assert set(OFFICIAL) <= set(ALIASES)


@pytest.mark.parametrize("name", [*NAMES, *OFFICIAL])
def test_a_folder_under_any_name_is_measured_with_its_own_weights(
    name: str, gpt2: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked(gpt2, here / name)
    (here / "links" / name).parent.mkdir(parents=True)
    (here / "links" / name).symlink_to(here / name)
    assert_logits_are_those_in(gpt2, name)
    assert_logits_are_those_in(gpt2, str(here / name))
    monkeypatch.chdir("links")
    assert_logits_are_those_in(gpt2, f"./{name}" if name in OFFICIAL else name)


def test_the_same_name_in_another_folder_is_another_model(
    gpt2: Path, other: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place, files in (("a", gpt2), ("b", other)):
        linked(files, here / place / "gpt2-small")
        monkeypatch.chdir(here / place)
        assert_logits_are_those_in(files, "gpt2-small")


def test_a_folder_with_the_bundled_models_name_is_told(gpt2: Path, here: Path) -> None:
    linked(gpt2, here / BUNDLED)
    told: list[str] = []
    find_model(BUNDLED, notify=told.append)
    assert told[0] == f"{BUNDLED} is the bundled model: write ./{BUNDLED} for the folder here"
    assert_logits_are_those_in(gpt2, f"./{BUNDLED}")


def test_a_name_that_leads_elsewhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an architecture that only a bridge measures, which loads by name."""
    phi, other = (
        families.save("phi", tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 1))
    )
    monkeypatch.setattr(source, "resolve_model_alias", lambda name: str(other))
    with pytest.raises(InputError, match=r"loaded for .* are not those in .* differs") as caught:
        models.load_model(str(phi))
    assert "\n" not in str(caught.value)


def test_another_model_in_the_bridge_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phi, other = (
        families.save("phi", tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 1))
    )
    foreign = boot(
        str(other),
        architecture_of(str(other), configuration(str(other), other)),
        other,
        load_tokenizer(str(other), other),
        torch.device("cpu"),
    )
    monkeypatch.setattr(TransformerBridge, "boot_transformers", lambda *_, **__: foreign)
    with pytest.raises(InputError, match="gives another model for"):
        models.load_model(str(phi))


# -- the comparison itself -------------------------------------------------------------------------


def renamed(folder: Path, rename: Callable[[str], str]) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({rename(name): t for name, t in weights.items()}, folder / "model.safetensors")


def shards(folder: Path) -> None:
    families.random_model("gpt2").save_pretrained(folder, max_shard_size="50KB")
    (folder / "model.safetensors").unlink()


def pickles(folder: Path, **choices: bool) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin", **choices)
    (folder / "model.safetensors").unlink()


FORMS: dict[str, Callable[[Path], object]] = {
    "as saved": lambda folder: None,
    "in shards": shards,
    "pickled": pickles,
    "pickled long ago": lambda folder: pickles(folder, _use_new_zipfile_serialization=False),
    "without the prefix": lambda f: renamed(f, lambda name: name.removeprefix("transformer.")),
    "with a foreign prefix": lambda f: renamed(f, lambda name: f"language.{name}"),
}


@pytest.mark.parametrize("change", FORMS.values(), ids=list(FORMS))
def test_every_form_of_the_same_weights_is_known(
    change: Callable[[Path], object], tmp_path: Path
) -> None:
    families.save("gpt2", tmp_path)
    change(tmp_path)
    refuse_foreign_weights("model", tmp_path, families.random_model("gpt2"))
    with pytest.raises(InputError, match="are not those in"):
        refuse_foreign_weights("model", tmp_path, families.random_model("gpt2", seed=1))


@pytest.mark.parametrize("family", ["llama_tied", "mixtral", "opt", "nemotron"])
def test_tied_and_merged_weights_are_known(family: str, tmp_path: Path) -> None:
    families.save(family, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    refuse_foreign_weights(family, tmp_path, loaded)
    with torch.no_grad():
        last = [p for p in loaded.parameters() if p.ndim > 1][-1]
        last[-1, -1] += 0.25
    with pytest.raises(InputError, match="are not those in"):
        refuse_foreign_weights(family, tmp_path, loaded)


def test_half_precision_is_compared_as_it_was_loaded(tmp_path: Path) -> None:
    families.random_model("gpt2").bfloat16().save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    refuse_foreign_weights("model", tmp_path, loaded)


def test_one_hash_for_the_same_weights_in_one_file_or_several(tmp_path: Path) -> None:
    families.save("gpt2", tmp_path)
    whole = weights_sha256(tmp_path)
    assert len(whole) == 64
    shards(tmp_path)
    assert weights_sha256(tmp_path) == whole
    families.save("gpt2", tmp_path, seed=1)
    assert weights_sha256(tmp_path) != whole


def test_the_hash_sees_one_number(gpt2: Path, tmp_path: Path) -> None:
    weights: dict[str, Tensor] = load_file(gpt2 / "model.safetensors")
    name = sorted(weights)[len(weights) // 2]
    weights[name].view(-1)[-1] += 1e-3
    save_file(weights, tmp_path / "model.safetensors")
    assert weights_sha256(tmp_path) != weights_sha256(gpt2)

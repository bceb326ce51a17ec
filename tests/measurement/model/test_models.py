"""A model's name in, a model that can be measured out, or one line that says why not."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from selfrepair_assets.measurement.engine import clean_run
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model import models
from selfrepair_assets.measurement.model.model_files import weight_files
from tests.helpers.models import families

NEURONS = {"gpt2": 128, "gpt_neo": 128, "opt": 64, "gpt_neox": 64}  # the others have 48


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.save("gpt2", tmp_path_factory.mktemp("gpt2"))


@pytest.fixture
def copied(gpt2: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(gpt2, tmp_path / "model"))


@pytest.fixture(autouse=True)
def _no_model_kept() -> Iterator[None]:
    yield
    models.forget_models()


def centred(logits: torch.Tensor) -> torch.Tensor:
    return logits - logits.mean(-1, keepdim=True)


@pytest.mark.parametrize("family", [*families.FAMILIES, "gpt_neox_sequential", "qwen3"])
def test_every_family_is_loaded_as_it_was_saved(family: str, tmp_path: Path) -> None:
    loaded = models.load_model(str(families.save(family, tmp_path)))
    tokens = families.random_tokens(2, 12)

    with torch.no_grad():
        expected = centred(families.random_model(family)(tokens).logits)
        torch.testing.assert_close(centred(loaded.logits(tokens)), expected, rtol=0, atol=2e-4)
    assert loaded.folded is not None
    assert loaded.normalization == (
        "RMS" if family.startswith(("llama", "mistral", "qwen")) else "LN"
    )
    assert loaded.parallel_attention == (family == "gpt_neox")
    assert (loaded.n_layers, loaded.n_heads) == (4 if family == "gpt_neo" else 3, 4)
    assert (loaded.d_model, loaded.d_vocab, loaded.n_ctx) == (32, families.D_VOCAB, families.N_CTX)
    assert loaded.d_mlp == NEURONS.get(family.removesuffix("_sequential"), 48)
    assert not loaded.source.training
    assert not any(p.requires_grad for p in loaded.source.parameters())
    with torch.no_grad():
        torch.testing.assert_close(centred(loaded.bridge(tokens)), expected, rtol=0, atol=2e-4)
    assert not loaded.bridge.training
    assert not any(p.requires_grad for p in loaded.bridge.parameters())


def test_the_unembedding_is_left_as_it_is_when_asked(gpt2: Path) -> None:
    tokens = families.random_tokens(1, 8)
    loaded = models.load_model(str(gpt2), center_unembed=False)
    assert loaded.folded is not None
    found = clean_run.logits(loaded.folded, tokens)
    with torch.no_grad():
        expected = families.random_model("gpt2")(tokens).logits
    assert expected.mean(-1).abs().max() > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_a_tokenizer_without_bos_keeps_none(copied: Path) -> None:
    tokenizer = families.character_tokenizer(prepend_bos=False)
    tokenizer.bos_token = None
    tokenizer.save_pretrained(copied)
    loaded = models.load_model(str(copied))
    assert loaded.tokenizer.bos_token_id is None
    assert loaded.bridge.tokenizer.bos_token_id is not None  # which is why there are two


def test_what_is_not_known_is_wrapped_as_it_is(tmp_path: Path) -> None:
    config = transformers.VaultGemmaConfig(
        vocab_size=families.D_VOCAB,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=8,
        intermediate_size=48,
    )
    torch.manual_seed(0)
    model = save_any(transformers.VaultGemmaForCausalLM(config), tmp_path)
    loaded = models.load_model(str(tmp_path))
    assert loaded.folded is None
    tokens = families.random_tokens(1, 8)
    with torch.no_grad():
        torch.testing.assert_close(loaded.bridge(tokens), model(tokens).logits, rtol=0, atol=1e-4)


def test_a_variant_that_is_not_read_is_told_and_wrapped(tmp_path: Path) -> None:
    config: Any = families.MODERN["olmo"]()
    config.clip_qkv = 8.0
    save_any(transformers.OlmoForCausalLM(config), tmp_path)
    told: list[str] = []
    loaded = models.load_model(str(tmp_path), notify=told.append)
    assert loaded.folded is None
    assert told[-1] == ("OLMo with clipped queries, keys and values: not known to the fast engine")


def test_what_the_run_says_of_its_logits_and_norms(tmp_path: Path) -> None:
    said = {
        name: (loaded.final_cap, loaded.logit_scale, loaded.post_norm)
        for name in ("gemma2", "cohere", "granite", "olmo2", "nemotron")
        for loaded in [models.load_model(str(families.save(name, tmp_path / name)))]
    }
    assert said == {
        "gemma2": (5.0, 1.0, True),
        "cohere": (None, 0.25, False),
        "granite": (None, 0.5, False),
        "olmo2": (None, 1.0, True),
        "nemotron": (None, 1.0, False),
    }


def test_one_model_is_kept_until_something_changes(copied: Path) -> None:
    first = models.load_model(str(copied))
    assert models.load_model(str(copied)) is first
    other = models.load_model(str(copied), center_unembed=False)
    assert other is not first
    assert models.load_model(str(copied)) is not first  # only the last one is kept
    kept = models.load_model(str(copied))
    families.save("gpt2", copied, seed=1)
    assert models.load_model(str(copied)) is not kept


def test_pickled_weights_are_loaded_too(copied: Path) -> None:
    torch.save(AutoModelForCausalLM.from_pretrained(copied).state_dict(), copied / "p.bin")
    (copied / "p.bin").rename(copied / "pytorch_model.bin")
    assert weight_files(copied)[0].suffix == ".safetensors"
    (copied / "model.safetensors").unlink()
    assert models.load_model(str(copied)).folded
    assert weight_files(copied)[0].suffix == ".bin"


def test_weights_in_several_files_must_all_be_there(copied: Path) -> None:
    families.random_model("gpt2").save_pretrained(copied, max_shard_size="50KB")
    (copied / "model.safetensors").unlink()
    assert models.load_model(str(copied)).folded
    shards = sorted(copied.glob("model-*.safetensors"))
    assert len(shards) > 1
    shards[1].unlink()
    with pytest.raises(InputError, match=f"lacks 1 of {len(shards)} weight files.*model-00002"):
        models.load_model(str(copied))


def save_any(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    model.save_pretrained(folder)
    families.character_tokenizer(prepend_bos=False).save_pretrained(folder)
    return model.eval()


def change_weight(folder: Path, part: str, change: Callable[[torch.Tensor], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if part in name)
    weights[name] = torch.as_tensor(change(weights[name]))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def drop_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "h.1.attn.c_attn.weight" in name))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def cut_off(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-4])


def set_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def pickle_garbage(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"hello")


def leave_gguf_only(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.gguf")


def poison(number: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda weight: weight.index_fill(0, torch.tensor([2]), number)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no configuration": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "configuration not JSON": (lambda f: (f / "config.json").write_text("{"), "is not JSON"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no weights: neither"),
    "GGUF only": (leave_gguf_only, r"has no weights.*model\.gguf is GGUF"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
    "broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "load the tokenizer"),
    "cut off": (cut_off, "broken or incomplete"),
    "empty": (lambda f: (f / "model.safetensors").write_bytes(b""), "broken or incomplete"),
    "git-lfs": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec"),
        "placeholder of git-lfs",
    ),
    "pickled garbage": (pickle_garbage, "cannot load the weights"),
    "NaN": (
        lambda f: change_weight(f, "h.1.attn.c_attn.weight", poison(float("nan"))),
        r"NaN or infinite numbers, first in transformer\.h\.1\.attn\.c_attn\.weight",
    ),
    "infinity": (
        lambda f: change_weight(f, "h.2.ln_1.bias", poison(float("inf"))),
        r"first in transformer\.h\.2\.ln_1\.bias",
    ),
    "a weight missing": (drop_weight, r"incomplete: 1 are missing.*h\.1\.attn\.c_attn\.weight"),
    "another shape": (
        lambda f: change_weight(f, "wte", lambda w: w[:50].clone()),
        "shapes that its config.json says",
    ),
    "unknown type": (lambda f: set_config(f, model_type="blub"), "read the configuration"),
    "own code": (
        lambda f: set_config(f, model_type="blub", auto_map={"AutoConfig": "a.B"}),
        "own code are not run",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=list(DAMAGE))
def test_damage_is_told_in_one_line(
    damage: Callable[[Path], object], message: str, copied: Path
) -> None:
    damage(copied)
    with pytest.raises(InputError, match=message) as caught:
        models.load_model(str(copied))
    assert "\n" not in str(caught.value)


SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": families.D_VOCAB}
HEADS: dict[str, Any] = {"num_attention_heads": 4, "intermediate_size": 48}
OTHER_KINDS: dict[str, tuple[Callable[[], PreTrainedModel], str]] = {
    "encoder": (
        lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SMALL, **HEADS)),
        r"\(BertForMaskedLM\) is not a decoder-only language model",
    ),
    "encoder-decoder": (
        lambda: transformers.T5ForConditionalGeneration(
            transformers.T5Config(d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4)
        ),
        "is not a decoder-only language model",
    ),
    "without attention": (
        lambda: transformers.MambaForCausalLM(transformers.MambaConfig(**SMALL, state_size=4)),
        "has no attention heads",
    ),
    "unknown to TransformerLens": (
        lambda: transformers.CTRLLMHeadModel(
            transformers.CTRLConfig(vocab_size=97, n_embd=32, dff=64, n_layer=2, n_head=4)
        ),
        r"does not know the architecture of .* \(CTRLLMHeadModel\)",
    ),
}


@pytest.mark.parametrize(("make", "message"), OTHER_KINDS.values(), ids=list(OTHER_KINDS))
def test_models_of_another_kind_are_refused(
    make: Callable[[], PreTrainedModel], message: str, tmp_path: Path
) -> None:
    save_any(make(), tmp_path)
    with pytest.raises(InputError, match=message):
        models.load_model(str(tmp_path))


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", "--device cuda: this machine has no CUDA device"),
        ("cuda:1", "--device cuda:1: this machine has no CUDA device"),
        ("tpu", "Unknown device 'tpu'. Choose from auto, cpu, cuda"),
        ("meta", "Unknown device 'meta'"),
    ],
)
def test_a_device_that_is_not_there(
    device: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=re.escape(message)):
        models.choose_device(device)
    assert models.choose_device("auto") == torch.device("cpu")

"""A model's name in, a model that can be measured out, or one line that says why not."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel

from selfrepair_assets.measurement.engine import clean_run
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model import models
from selfrepair_assets.measurement.model.model_files import weight_files
from tests.helpers.models import families

NEURONS = {"gpt2": 128, "gpt_neo": 128, "opt": 64, "gpt_neox": 64}  # the others have 48


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
    "without a final norm": (
        lambda: transformers.OPTForCausalLM(
            transformers.OPTConfig(
                **SMALL, num_attention_heads=4, word_embed_proj_dim=16, do_layer_norm_before=False
            )
        ),
        "no final norm",
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

"""What a configuration alone says of a model: no weights are read, and none are fetched.

`whole` is the model on the `meta` device, where a tensor has a shape and no memory. `thin` is the
same with a few layers, a few tokens and random weights, which can be run. Both go the way that
loading goes (`models.read_by_family`, else a bridge with all its checks), so that what is refused
here is what is refused there. What can be wrong with the weights themselves is not seen.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from selfrepair_assets.measurement.model.checked_boot import (
    architecture_of,
    attention_of,
    configuration,
    wrap,
)
from selfrepair_assets.measurement.model.find_model import find_configuration
from selfrepair_assets.measurement.model.folded_model import UnknownArchitectureError
from selfrepair_assets.measurement.model.models import (
    LoadedModel,
    around_bridge,
    choose_device,
    read_by_family,
)
from selfrepair_assets.measurement.model.quiet import quiet

THIN_TOKENS = 512
"""Tokens that a thin model knows: what they cost is counted, not measured."""


@dataclass(frozen=True)
class ConfiguredModel:
    """A model's configuration, whose architecture is one that can be measured."""

    name: str
    architecture: str
    config: Any
    device: torch.device
    center_unembed: bool

    @classmethod
    def find(
        cls,
        model: str,
        revision: str | None = None,
        device: str = "auto",
        center_unembed: bool = True,
    ) -> ConfiguredModel:
        """Of a model by its name.

        Raises:
            InputError: there is no such model, or one that its configuration shows to be no
                decoder, or not known.
        """
        place = find_configuration(model, revision)
        if place.is_file():
            config = configuration(model, place.parent, gguf_file=place.name)
        else:
            config = configuration(model, place)
        architecture = architecture_of(model, config)
        return cls(model, architecture, config, choose_device(device), center_unembed)

    @property
    def n_layers(self) -> int:
        return self.config.get_text_config().num_hidden_layers

    @property
    def d_vocab(self) -> int:
        return self.config.get_text_config().vocab_size

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self._on_meta.parameters())

    @cached_property
    def _on_meta(self) -> Any:
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

        _ = MODEL_FOR_CAUSAL_LM_MAPPING[type(self.config)]  # imported here: tensors of its own are
        with torch.device("meta"):
            return self.source(self.config)

    def whole(self) -> LoadedModel | None:
        """All of it without memory, as the fast engine reads it; None where it does not."""
        source = self._on_meta
        try:
            with torch.device("meta"):
                return read_by_family(source, **self.about)
        except UnknownArchitectureError:
            return None

    def thin(self, n_layers: int, n_tokens: int = THIN_TOKENS) -> LoadedModel:
        """The first layers and tokens, with random weights.

        Raises:
            InputError: neither engine measures such a model.
        """
        source = self.source(_thinned(self.config, n_layers, n_tokens))
        generator = torch.Generator().manual_seed(0)
        for parameter in source.parameters():
            if parameter.ndim == 1:  # biases are zeros otherwise, and all norms alike
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.data += 0.1 * noise
        source = source.to(self.device)
        try:
            return read_by_family(source, **self.about)
        except UnknownArchitectureError as variant:
            bridge = wrap(self.name, self.architecture, source, self.about["tokenizer"])
            return around_bridge(bridge, hooked_because=str(variant), **self.about)

    def source(self, config: Any) -> Any:
        """A transformers model, fp32, as it is initialised."""
        from transformers import AutoModelForCausalLM

        with quiet():
            model = AutoModelForCausalLM.from_config(
                config, dtype=torch.float32, attn_implementation=attention_of(config)
            )
        return model.eval().requires_grad_(False)

    @property
    def about(self) -> dict[str, Any]:
        """What `read_by_family` and `around_bridge` are told of it."""
        return {
            "tokenizer": _any_tokenizer(),
            "name": self.name,
            "commit": None,
            "architecture": self.architecture,
            "device": self.device,
            "center_unembed": self.center_unembed,
        }


def llama_like(model: LoadedModel) -> ConfiguredModel:
    """A Llama of a model's sizes, to tell how long the fast engine would take."""
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=model.d_model,
        intermediate_size=model.d_mlp or 4 * model.d_model,
        num_attention_heads=model.n_heads,
        head_dim=max(2, model.d_model // model.n_heads // 2 * 2),
    )
    name = "LlamaForCausalLM"
    return ConfiguredModel(name, name, config, model.device, model.center_unembed)


def _thinned(config: Any, n_layers: int, n_tokens: int) -> Any:
    """The configuration of a model of fewer layers and tokens."""
    thin = copy.deepcopy(config)
    text = thin.get_text_config()
    layers = text.num_hidden_layers
    for name, value in vars(text).items():
        if isinstance(value, list) and len(value) == layers:  # one for each layer
            setattr(text, name, value[:n_layers])
    text.num_hidden_layers = min(layers, n_layers)
    text.vocab_size = min(text.vocab_size, n_tokens)
    if getattr(text, "pad_token_id", None) is not None:
        text.pad_token_id = min(text.pad_token_id, text.vocab_size - 1)
    return thin


def _any_tokenizer() -> Any:
    """What a bridge wants to have, and nothing asks: no text is read."""
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"</s>": 0, "a": 1}, unk_token="a"))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="</s>")

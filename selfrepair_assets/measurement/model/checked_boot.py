"""A model folder's model, with every reason not to measure it looked for.

In the order of their cost: the configuration, the tokenizer, the weights, the blocks.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model.quiet import quiet
from selfrepair_assets.measurement.model.weights import refuse_foreign_weights

MOST = {
    "num_hidden_layers": 10_000,
    "num_attention_heads": 10_000,
    "hidden_size": 1_000_000,
    "vocab_size": 100_000_000,
}
"""Larger than any model has: what a config.json says is looked at before memory is asked for."""
TOLERANCE = 1e-3
"""Largest difference of a logit that is rounding, as a share of the largest logit."""


def architecture_of(model: str, config: Any) -> str:
    """The architecture's name, if a configuration's model is one that can be measured."""
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES
    from transformer_lens.model_bridge.sources._hf_format import (
        determine_architecture_from_hf_config,
    )
    from transformer_lens.model_bridge.sources.transformers.helpers import (
        get_hf_model_class_for_architecture,
    )
    from transformers import AutoModelForCausalLM

    try:
        architecture = determine_architecture_from_hf_config(config)
    except ValueError:
        architecture = ", ".join(config.architectures or [config.model_type])
    sizes_of(model, config)
    known = architecture in SUPPORTED_ARCHITECTURES
    if getattr(config, "is_encoder_decoder", False) or (
        known and get_hf_model_class_for_architecture(architecture) is not AutoModelForCausalLM
    ):
        raise InputError(
            f"'{model}' ({architecture}) is not a decoder-only language model. Choose one that "
            "predicts the next token, such as GPT-2, Pythia or Llama."
        )
    if not known:
        raise InputError(
            f"TransformerLens does not know the architecture of '{model}' ({architecture}). "
            "Choose a model such as GPT-2, Pythia, OPT, Llama, Mistral or Qwen2."
        )
    return architecture


def configuration(model: str, folder: Path, **place: Any) -> Any:
    """A folder's configuration; `place`: in which file, if that is not config.json."""
    from transformers import AutoConfig

    try:
        with quiet():
            return AutoConfig.from_pretrained(folder, trust_remote_code=False, **place)
    except Exception as error:
        raise InputError(
            f"transformers cannot read the configuration of '{model}': {_first_line(error)} "
            "Models that bring their own code are not run; choose another."
        ) from error


def sizes_of(model: str, config: Any) -> tuple[int, int]:
    """Layers and heads, as a configuration says.

    Raises:
        InputError: a number of layers, heads, tokens or dimensions that no model has.
    """
    text = config.get_text_config()
    found = []
    for name, most in MOST.items():
        value = getattr(text, name, 1)
        if isinstance(value, list | tuple) and value:  # of each layer, as OpenELM has them
            value = value[0]
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise InputError(
                f"The config.json of '{model}' says {name} {value!r:.40}, and a model has 1 to "
                f"{most:,}. Copy or download it again."
            )
        found.append(value)
    return found[0], found[1]


def load_tokenizer(model: str, folder: Path) -> Any:
    """The tokenizer as its files say: without a BOS token where they name none."""
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise InputError(
            f"transformers cannot load the tokenizer of '{model}': {_first_line(error)} "
            "Save it again with tokenizer.save_pretrained(folder)."
        ) from error


def load_weights(model: str, folder: Path, **kwargs: Any) -> Any:
    """The transformers model in a folder, fp32 unless told otherwise, in evaluation mode.

    Raises:
        InputError: weights that are missing, broken, too large or not the folder's.
    """
    from transformers import AutoModelForCausalLM

    try:
        loading: Any = AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True, **{"dtype": torch.float32} | kwargs
        )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if "ignore_mismatched_sizes" in str(error):
            raise InputError(
                f"The weights of '{model}' do not have the shapes that its config.json "
                "says. Copy or download the folder again."
            ) from error
        raise InputError(
            f"transformers cannot load the weights of '{model}': {_first_line(error)} "
            "Copy or download them again."
        ) from error
    loaded, report = loading
    missing = sorted(report["missing_keys"])
    if missing:
        raise InputError(
            f"The weights of '{model}' are incomplete: {len(missing)} are missing, "
            f"the first being {missing[0]}. Save the whole model, with its head, again."
        )
    for name, weight in loaded.named_parameters():
        # The sum tells, at a fraction of the cost; one of finite weights may still overflow.
        if not torch.isfinite(weight.sum()) and not torch.isfinite(weight).all():
            raise InputError(
                f"The weights of '{model}' have NaN or infinite numbers, first in {name}. "
                "Copy or download them again, or choose another checkpoint."
            )
    refuse_foreign_weights(model, folder, loaded)
    return loaded.eval()


def load_source(model: str, folder: Path, device: torch.device) -> Any:
    """The transformers model, on the device, without gradients; raises as `load_weights`."""
    attention = attention_of(configuration(model, folder))
    try:
        with quiet():
            loaded = load_weights(model, folder, attn_implementation=attention).to(device)
    except torch.OutOfMemoryError as error:
        raise too_large(model, device) from error
    return loaded.requires_grad_(False)


def attention_of(config: Any) -> str:
    """Which of transformers' attentions is right: Falcon's eager one counts ALiBi twice."""
    return "sdpa" if getattr(config, "alibi", False) else "eager"


class _CheckedLoader:
    """Stands for the model class in `boot_transformers`; refuses incomplete and foreign weights."""

    def __init__(self, model: str, folder: Path) -> None:
        self.model, self.folder = model, folder
        self.loaded: Any = None
        self.logits = torch.empty(0)
        """What transformers itself answers to a few tokens, before anything is wrapped."""

    def from_pretrained(self, path: str, **kwargs: Any) -> Any:
        loaded = load_weights(self.model, Path(path), **kwargs)
        if Path(path) != self.folder:
            refuse_foreign_weights(self.model, self.folder, loaded)
        self.logits = sample_logits(loaded, loaded.config)
        self.loaded = loaded
        return loaded


def logits_of(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """What a transformers model or a bridge answers to tokens [batch pos], as it gives them."""
    with torch.no_grad():
        answer = model(tokens)
    return answer if isinstance(answer, torch.Tensor) else answer.logits


def sample_logits(model: Any, config: Any) -> torch.Tensor:
    """The logits of a few tokens, centred over the vocabulary: [batch=1 pos d_vocab]."""
    text = config.get_text_config()
    n_ctx = getattr(text, "max_position_embeddings", None) or 8
    tokens = torch.arange(min(8, n_ctx), device=next(model.parameters()).device)[None]
    logits = logits_of(model, tokens % text.vocab_size)
    return (logits - logits.mean(-1, keepdim=True)).cpu()


def boot(model: str, architecture: str, folder: Path, tokenizer: Any, device: torch.device) -> Any:
    """The TransformerBridge, fp32, with raw weights that are all there and finite.

    Raises:
        InputError: as `load_weights`, or a model that TransformerLens cannot wrap as it is.
    """
    loader = _CheckedLoader(model, folder)
    bridge = _bridge(model, architecture, folder, tokenizer, device, model_class=loader)
    if loader.loaded is None or bridge.original_model is not loader.loaded:
        raise InputError(
            f"TransformerLens gives another model for '{model}' than the one in '{folder}'. "
            "Give the folder another name, or choose another model."
        )
    return _checked(bridge, model, architecture, loader.logits)


def wrap(model: str, architecture: str, source: Any, tokenizer: Any) -> Any:
    """A TransformerBridge around a loaded transformers model, whose modules it takes over.

    Raises:
        InputError: TransformerLens cannot wrap it as it is.
    """
    logits = sample_logits(source, source.config)
    bridge = _bridge(model, architecture, Path(model), tokenizer, source.device, hf_model=source)
    return _checked(bridge, model, architecture, logits)


def _bridge(
    model: str,
    architecture: str,
    folder: Path,
    tokenizer: Any,
    device: torch.device,
    **source: Any,
) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    try:
        with quiet():
            bridge = TransformerBridge.boot_transformers(
                str(folder),
                dtype=torch.float32,
                device=device,
                tokenizer=copy.deepcopy(tokenizer),
                **source,
            )
    except InputError:
        raise
    except torch.OutOfMemoryError as error:
        raise too_large(model, device) from error
    except Exception as error:
        raise InputError(
            f"TransformerLens cannot load '{model}' ({architecture}): {_first_line(error)} "
            "Choose another model."
        ) from error
    bridge.eval()
    bridge.requires_grad_(False)
    return bridge


def _checked(bridge: Any, model: str, architecture: str, expected: torch.Tensor) -> Any:
    """The bridge, if it is a decoder with heads that computes the logits it should."""
    if not hasattr(bridge, "ln_final") or not hasattr(bridge, "unembed"):
        raise InputError(
            f"'{model}' ({architecture}) has no final norm before its unembedding, by whose scale "
            "direct effects are defined. Choose another model."
        )
    logits = sample_logits(bridge, bridge.original_model.config)
    if not (logits - expected).abs().max() <= TOLERANCE * expected.abs().max():
        raise InputError(
            f"TransformerLens computes other logits for '{model}' ({architecture}) than "
            "transformers does: a setting of its configuration is not supported. "
            "Choose another model."
        )
    for layer, block in enumerate(getattr(bridge, "blocks", ())):
        if not hasattr(block, "attn") or not bridge.cfg.n_heads:
            raise InputError(
                f"Layer {layer} of '{model}' ({architecture}) has no attention heads to ablate. "
                "Choose a model with attention in every layer."
            )
    return bridge


def too_large(model: str, device: torch.device) -> InputError:
    """What is raised where a model's weights are more than a device's memory."""
    return InputError(
        f"'{model}' does not fit in the memory of {device}. Use --device cpu or a smaller model."
    )


def _first_line(error: Exception) -> str:
    """The first line of an exception's message, ended as a sentence and not too long."""
    line = (str(error).strip().splitlines() or [""])[0][:300].strip()
    if " " not in line:  # a KeyError's message is the key
        line = f"{type(error).__name__} {line}".strip()
    return line if line.endswith((".", "!", "?")) else line + "."

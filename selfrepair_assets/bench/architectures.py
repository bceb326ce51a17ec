"""The shapes of the paper's models, with random weights where the real ones are not at hand.

How long a measurement takes depends on the shape alone. Torch is not imported before a model is
made: the command lists the names without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfrepair_assets.measurement.model.models import LoadedModel


def _pythia(layers: int, heads: int, d_model: int) -> tuple[str, dict[str, Any]]:
    return "gpt_neox", {
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_size": d_model,
        "intermediate_size": 4 * d_model,
        "vocab_size": 50304,
    }


def _gpt2(layers: int, heads: int, d_model: int) -> tuple[str, dict[str, Any]]:
    return "gpt2", {"n_layer": layers, "n_head": heads, "n_embd": d_model}


ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "pythia-160m": _pythia(12, 12, 768),
    "pythia-410m": _pythia(24, 16, 1024),
    "pythia-1b": _pythia(16, 8, 2048),
    "gpt2-small": _gpt2(12, 12, 768),
    "gpt2-medium": _gpt2(24, 16, 1024),
    "gpt2-large": _gpt2(36, 20, 1280),
    "llama-7b": ("llama", {}),
}
"""By name, transformers' type of model and what differs from that type's own defaults."""


def random_model(architecture: str, device: str = "auto") -> LoadedModel:
    """A model of that shape, fp32, with the weights that transformers begins a training with.

    Raises:
        InputError: a device that is not there, or whose memory is too small.
    """
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    from selfrepair_assets.measurement.model.checked_boot import too_large
    from selfrepair_assets.measurement.model.configured import ConfiguredModel
    from selfrepair_assets.measurement.model.models import choose_device, read_by_family

    chosen, name = choose_device(device), f"random {architecture}"
    model_type, sizes = ARCHITECTURES[architecture]
    config = AutoConfig.for_model(model_type, **sizes)
    of_type: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    model = ConfiguredModel(name, of_type.__name__, config, chosen, center_unembed=True)
    torch.manual_seed(0)
    try:
        with chosen:
            source = model.source(config)
        return read_by_family(source, **model.about)
    except torch.OutOfMemoryError as error:
        raise too_large(name, chosen) from error

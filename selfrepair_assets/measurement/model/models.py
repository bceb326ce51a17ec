"""A model's name in, a model that can be measured out.

1. The name becomes a folder with complete files (`find_model`).
2. The configuration alone tells whether it predicts the next token and whether TransformerBridge
   knows its architecture.
3. The weights are loaded in fp32, and each must be there, finite and the folder's own (`weights`):
   transformers fills weights that are missing with random numbers and says so in a warning only,
   and TransformerLens takes some names for those of the hub's models.
4. Where the family is known (`families`), the weights are folded from the transformers model's own;
   what the folded weights compute is compared with the model before anything is measured
   (`Measurer.check_engine`). Any other model is wrapped by a TransformerBridge, which has hooks.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model.checked_boot import (
    architecture_of,
    boot,
    configuration,
    load_source,
    load_tokenizer,
    logits_of,
    sizes_of,
    wrap,
)
from selfrepair_assets.measurement.model.families.known import KNOWN, fold
from selfrepair_assets.measurement.model.find_model import ModelFolder, Notify, find_model
from selfrepair_assets.measurement.model.folded_model import FoldedModel, UnknownArchitectureError
from selfrepair_assets.measurement.model.logits import ConstantScales, uncapped
from selfrepair_assets.measurement.model.weights import weights_sha256
from selfrepair_assets.measurement.products.precision import has_tf32

logger = logging.getLogger(__name__)


@dataclass
class AtMost:
    """What is measured at once at most, since more was too much for the device's memory."""

    sequences: int = sys.maxsize
    rows: int = sys.maxsize


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, fp32, in evaluation mode, without gradients.

    Attributes:
        source: the transformers model; `bridge` takes over its modules.
        tokenizer: as its files say (the bridge has a copy of its own, which it changes).
        name: the model as the user gave it.
        commit: what the revision that the user gave was on the hub.
        architecture: such as `GPTNeoXForCausalLM`.
        normalization: `LN` or `RMS`.
        parallel_attention: attention and MLP of a block read the same residual stream.
        d_mlp: neurons of an MLP layer, from the weights' shape.
        n_ctx: the longest sequence in tokens.
        center_unembed: the vocabulary's mean is subtracted from the unembedding.
        folded: the weights as the perturbation engine reads them; None where it does not.
        weights_sha256: of the weights as they are stored (`weights.weights_sha256`).
        hooked_because: what of it the perturbation engine does not read; empty where it reads all.
        at_most: is learned while it is measured.
    """

    source: Any
    tokenizer: Any
    name: str
    commit: str | None
    architecture: str
    normalization: str
    parallel_attention: bool
    n_layers: int
    n_heads: int
    d_model: int
    d_mlp: int
    d_vocab: int
    n_ctx: int
    device: torch.device
    center_unembed: bool
    folded: FoldedModel | None
    weights_sha256: str = ""
    hooked_because: str = ""
    at_most: AtMost = field(default_factory=AtMost, compare=False)

    @cached_property
    def bridge(self) -> Any:
        """The TransformerBridge around `source`, whose weights stay raw.

        Raises:
            InputError: TransformerLens cannot wrap the model as it is.
        """
        if hasattr(self.source, "original_model"):  # wrapped when it was loaded
            return self.source
        return wrap(self.name, self.architecture, self.source, self.tokenizer)

    def logits(self, tokens: Tensor) -> Tensor:
        """The model's own answer to tokens [batch pos], before a final cap."""
        wrapped = self.__dict__.get("bridge")  # which has taken over the source's modules
        logits = logits_of(self.source if wrapped is None else wrapped, tokens)
        return logits if self.final_cap is None else uncapped(logits, self.final_cap)

    @property
    def config(self) -> Any:
        """The transformers model's configuration."""
        return getattr(self.source, "original_model", self.source).config

    @property
    def final_cap(self) -> float | None:
        """Where the model's logits are `cap tanh(logit / cap)`: the cap."""
        return getattr(self.config.get_text_config(), "final_logit_softcapping", None)

    @property
    def logit_scale(self) -> float:
        """The constant factor in the model's logits, and in those that are measured."""
        return ConstantScales.of(self.config).logits

    @property
    def post_norm(self) -> bool:
        """Whether there is a norm between attention and residual stream."""
        if self.folded is not None:
            return self.folded.has_post_norm
        return any(hasattr(block, "ln1_post") for block in self.bridge.blocks)


_loaded: dict[tuple[object, ...], LoadedModel] = {}
_lock = threading.Lock()


def load_model(
    model: str,
    revision: str | None = None,
    device: str = "auto",
    center_unembed: bool = True,
    notify: Notify = logger.info,
) -> LoadedModel:
    """Load a model; asked again for the same one, give the one in memory.

    Only the last model is kept, and it is let go before another is loaded.

    Args:
        model: the bundled model's name, a folder as `save_pretrained` writes it, or a hub name.
        revision: the hub's branch, tag or commit.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        center_unembed: subtract the vocabulary's mean from the unembedding.
        notify: is told, in one line each, of what takes long or is out of the ordinary.

    Raises:
        InputError: whatever keeps this model from being measured, and what to do about it.
    """
    chosen = choose_device(device)
    folder = find_model(model, revision, notify)
    changed = max(file.stat().st_mtime_ns for file in folder.path.iterdir())
    key = (model, revision, folder, changed, chosen, center_unembed)
    with _lock:
        if key not in _loaded:
            if _loaded:
                _let_go()
            _loaded[key] = _load(model, folder, chosen, center_unembed, notify)
        return _loaded[key]


def look_at_model(model: str, revision: str | None = None) -> tuple[int, int]:
    """Layers and heads of a model whose files are all there; loads no weights.

    Raises:
        InputError: as `load_model`, as far as the files' names and the configuration tell.
    """
    config = configuration(model, find_model(model, revision).path)
    architecture_of(model, config)
    return sizes_of(model, config)


def forget_models() -> None:
    """Let go of the model that is kept in memory."""
    with _lock:
        _let_go()


def _let_go() -> None:
    _loaded.clear()
    gc.collect()  # modules and their hooks refer to each other


def choose_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; any other name must be there.

    `auto` does not take Apple's MPS: it has no float64, in which means are summed up.

    Raises:
        InputError: an unknown name, or a device that this machine does not have.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        chosen = torch.device("meta")
    if chosen.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"Unknown device '{device}'. Choose from auto, cpu, cuda, cuda:0, mps.")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"--device {device}: this machine has no CUDA device, or PyTorch was installed without "
            "CUDA. Use --device auto or cpu."
        )
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"--device {device}: this machine has {torch.cuda.device_count()} CUDA device(s), "
            "counted from cuda:0."
        )
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("--device mps: this machine has none. Use --device auto or cpu.")
    return chosen


def refuse_precision(precision: str, device: torch.device) -> None:
    """Raises InputError for a precision that the device does not have."""
    if precision == "tf32" and not has_tf32(device):
        raise InputError(
            f"--precision tf32: {device} has no TF32, which NVIDIA GPUs have since Ampere. "
            "Use --precision fp32 or bf16."
        )


def _load(
    model: str,
    folder: ModelFolder,
    device: torch.device,
    center_unembed: bool,
    notify: Notify,
) -> LoadedModel:
    architecture = architecture_of(model, configuration(model, folder.path))
    tokenizer = load_tokenizer(model, folder.path)
    about: dict[str, Any] = {
        "tokenizer": tokenizer,
        "name": model,
        "commit": folder.commit,
        "architecture": architecture,
        "device": device,
        "center_unembed": center_unembed,
    }
    loaded, because = None, architecture
    if architecture in KNOWN:
        source = load_source(model, folder.path, device)
        try:
            loaded = read_by_family(source, **about)
        except UnknownArchitectureError as variant:
            because = str(variant)
            notify(f"{because}: not known to the fast engine")
        del source
    if loaded is None:
        bridge = boot(model, architecture, folder.path, tokenizer, device)
        loaded = around_bridge(bridge, hooked_because=because, **about)
    return replace(loaded, weights_sha256=weights_sha256(folder.path))


def read_by_family(source: Any, **about: Any) -> LoadedModel:
    """A transformers model for the perturbation engine.

    Raises:
        UnknownArchitectureError: an architecture, or a variant of one, that is not read.
    """
    folded = fold(source, about["center_unembed"])
    return LoadedModel(
        source=source,
        normalization="LN" if folded.layer_norm else "RMS",
        parallel_attention=folded.parallel_attention,
        n_layers=folded.n_layers,
        n_heads=folded.n_heads,
        d_model=folded.d_model,
        d_mlp=folded.d_mlp,
        d_vocab=len(folded.W_U),
        n_ctx=_n_ctx(source.config),
        folded=folded,
        **about,
    )


def around_bridge(bridge: Any, **about: Any) -> LoadedModel:
    """A TransformerBridge for the hooked engine."""
    cfg = bridge.cfg
    return LoadedModel(
        source=bridge,
        normalization="RMS" if cfg.uses_rms_norm else "LN",
        parallel_attention=bool(cfg.parallel_attn_mlp),
        n_layers=cfg.n_layers,
        n_heads=cfg.n_heads,
        d_model=cfg.d_model,
        d_mlp=_d_mlp(bridge),
        d_vocab=bridge.W_U.shape[-1],
        n_ctx=cfg.n_ctx,
        folded=None,
        **about,
    )


def _n_ctx(config: Any) -> int:
    """The longest sequence; 2048 where a configuration has none, as with ALiBi."""
    names = ("n_positions", "max_position_embeddings", "max_seq_len")
    return next((getattr(config, name) for name in names if hasattr(config, name)), 2048)


def _d_mlp(bridge: Any) -> int:
    """Neurons of the first MLP. TransformerLens' own `cfg.d_mlp` is 4 d_model for OPT, always."""
    weight = getattr(bridge.blocks[0].mlp, "W_in", None)
    return weight.shape[-1] if isinstance(weight, torch.Tensor) else int(bridge.cfg.d_mlp or 0)

"""A transformers model, unfolded and in float64, that shows its parts: the oracle's instrument.

Hooks on plain linear layers read what is needed: the input of an attention's output projection is
the heads' ``z`` side by side, and can be replaced there; the outputs of that projection and of the
MLP's last projection are what is added to the residual stream; the input of the final norm is the
residual stream at its end.

Two things are said here once:

* transformers computes norms, softmax and GPT-Neo's scores in float32 whatever the model's dtype;
  ``_OnlyFloat64`` turns these casts around, so that the oracle is exact to some 1e-13.
* The measured ``z`` is that of TransformerLens' folded weights, in which the value bias is part of
  the attention's output bias: ``z = z_unfolded - b_V_effective``, with ``b_V_effective = b_V +
  W_V beta`` (``beta`` the bias of the norm that the attention reads). A row of an attention pattern
  sums to 1, so this constant passes through the pattern unchanged. It matters: a zero ablation
  means zero in this ``z``, and a head's direct effect leaves the constant out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel


class _OnlyFloat64(TorchFunctionMode):
    """Within it, whoever asks for float32 gets float64."""

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is Tensor.float:
            func = Tensor.double
        args = tuple(torch.float64 if arg is torch.float32 else arg for arg in args)
        kwargs = {
            key: torch.float64 if value is torch.float32 else value
            for key, value in (kwargs or {}).items()
        }
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Anatomy:
    """Where an architecture keeps the parts that the oracle looks at, as dotted names."""

    blocks: str
    attention_norm: str
    value: str  # the linear layer that makes the values, alone or with queries and keys
    value_layout: str  # 'alone' | 'q k v' (one after the other) | 'per head' (q k v of head 0, ...)
    out_projection: str
    mlp_out: str
    final_norm: str


_LLAMA = Anatomy(
    blocks="model.layers",
    attention_norm="input_layernorm",
    value="self_attn.v_proj",
    value_layout="alone",
    out_projection="self_attn.o_proj",
    mlp_out="mlp.down_proj",
    final_norm="model.norm",
)

ANATOMY: dict[str, Anatomy] = {
    "gpt2": Anatomy(
        blocks="transformer.h",
        attention_norm="ln_1",
        value="attn.c_attn",
        value_layout="q k v",
        out_projection="attn.c_proj",
        mlp_out="mlp.c_proj",
        final_norm="transformer.ln_f",
    ),
    "gpt_neo": Anatomy(
        blocks="transformer.h",
        attention_norm="ln_1",
        value="attn.attention.v_proj",
        value_layout="alone",
        out_projection="attn.attention.out_proj",
        mlp_out="mlp.c_proj",
        final_norm="transformer.ln_f",
    ),
    "opt": Anatomy(
        blocks="model.decoder.layers",
        attention_norm="self_attn_layer_norm",
        value="self_attn.v_proj",
        value_layout="alone",
        out_projection="self_attn.out_proj",
        mlp_out="fc2",
        final_norm="model.decoder.final_layer_norm",
    ),
    "gpt_neox": Anatomy(
        blocks="gpt_neox.layers",
        attention_norm="input_layernorm",
        value="attention.query_key_value",
        value_layout="per head",
        out_projection="attention.dense",
        mlp_out="mlp.dense_4h_to_h",
        final_norm="gpt_neox.final_layer_norm",
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "nemotron": _LLAMA,
    "mixtral": replace(_LLAMA, mlp_out="mlp"),  # experts: what they add up to
    "gptj": Anatomy(
        blocks="transformer.h",
        attention_norm="ln_1",
        value="attn.v_proj",
        value_layout="alone",
        out_projection="attn.out_proj",
        mlp_out="mlp.fc_out",
        final_norm="transformer.ln_f",
    ),
    "phi": Anatomy(
        blocks="model.layers",
        attention_norm="input_layernorm",
        value="self_attn.v_proj",
        value_layout="alone",
        out_projection="self_attn.dense",
        mlp_out="mlp.fc2",
        final_norm="model.final_layernorm",
    ),
    "bloom": Anatomy(
        blocks="transformer.h",
        attention_norm="input_layernorm",
        value="self_attention.query_key_value",
        value_layout="per head",
        out_projection="self_attention.dense",
        mlp_out="mlp.dense_4h_to_h",
        final_norm="transformer.ln_f",
    ),
}


def matrix(linear: nn.Module) -> Tensor:
    """[in, out]: GPT-2's ``Conv1D`` stores its weight that way, ``nn.Linear`` the other."""
    weight: Tensor = linear.weight  # type: ignore[assignment]
    return weight.T if isinstance(linear, nn.Linear) else weight


@dataclass
class Run:
    """What one forward pass showed. ``z`` is the folded one (see the module's docstring)."""

    logits: Tensor  # batch pos d_vocab, as the model gives them
    z: list[Tensor]  # per layer: batch pos head d_head
    attention_out: list[Tensor]  # per layer: batch pos d_model, with b_O
    mlp_out: list[Tensor]  # per layer: batch pos d_model, with b_out
    neurons: Tensor  # batch pos d_mlp: last MLP's activations, as they enter its last projection
    resid_final: Tensor  # batch pos d_model: what the final norm reads


class HookedModel:
    """A model whose ``model_type`` is in ``ANATOMY``; it is turned to float64 in place."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model.double().eval()
        self.anatomy = ANATOMY[model.config.model_type]
        self.blocks = list(model.get_submodule(self.anatomy.blocks).children())
        self.final_norm = model.get_submodule(self.anatomy.final_norm)
        self.n_layers = len(self.blocks)
        self.n_heads: int = model.config.num_attention_heads

    def parts(self, name: str) -> list[nn.Module]:
        """Per layer: the module that ``Anatomy`` calls ``name``."""
        return [block.get_submodule(getattr(self.anatomy, name)) for block in self.blocks]

    @cached_property
    def w_o(self) -> list[Tensor]:
        """Per layer: [head d_head d_model]."""
        return [
            matrix(projection).unflatten(0, (self.n_heads, -1))
            for projection in self.parts("out_projection")
        ]

    @cached_property
    def value_bias(self) -> list[Tensor]:
        """Per layer: [head d_head], ``b_V + W_V beta``: the value of a token whose normed input
        is ``beta`` alone. Grouped query heads share that of their key-value head."""
        biases = []
        for norm, value in zip(self.parts("attention_norm"), self.parts("value"), strict=True):
            d_model = matrix(value).shape[0]
            beta = getattr(norm, "bias", None)
            out = value(torch.zeros(d_model, dtype=torch.float64) if beta is None else beta)
            if self.anatomy.value_layout == "q k v":
                out = out.chunk(3)[2]
            elif self.anatomy.value_layout == "per head":
                out = out.unflatten(0, (self.n_heads, 3, -1))[:, 2].flatten()
            d_head = self.w_o[0].shape[1]
            key_value_heads = out.unflatten(0, (-1, d_head))
            group = self.n_heads // key_value_heads.shape[0]
            biases.append(key_value_heads.repeat_interleave(group, dim=0).detach())
        return biases

    @torch.no_grad()
    def run(
        self,
        tokens: Tensor,
        replace: tuple[int, int, Tensor] | None = None,
        add: tuple[int, int, Tensor] | None = None,
    ) -> Run:
        """One forward pass.

        Args:
            tokens: [batch pos].
            replace: (layer, head, z): the head's ``z`` becomes this one, [batch pos d_head] or
                anything that broadcasts to it.
            add: (layer, position, vector): this [batch d_model] is added to the residual stream
                that enters the layer, at one position.
        """
        seen = SimpleNamespace(z={}, attention={}, mlp={}, neurons=None, resid=None)
        n_batch, n_pos = tokens.shape

        def keep(store: dict[int, Tensor], layer: int) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
                store[layer] = output.reshape(n_batch, n_pos, -1)  # OPT's MLP flattens its batch

            return hook

        def heads(layer: int) -> Callable[..., tuple[Tensor]]:
            def hook(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
                z = inputs[0].unflatten(-1, (self.n_heads, -1)) - self.value_bias[layer]
                if replace is not None and replace[0] == layer:
                    z = z.clone()
                    z[:, :, replace[1]] = replace[2]
                seen.z[layer] = z
                return ((z + self.value_bias[layer]).flatten(-2),)

            return hook

        def enter(layer: int) -> Callable[..., tuple[Tensor, ...] | None]:
            def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
                if add is None or add[0] != layer:
                    return None
                resid = inputs[0].clone()
                resid[:, add[1]] += add[2]
                return (resid, *inputs[1:])

            return hook

        def neurons(module: nn.Module, inputs: tuple[Tensor]) -> None:
            seen.neurons = inputs[0].reshape(n_batch, n_pos, -1)

        def resid(module: nn.Module, inputs: tuple[Tensor]) -> None:
            seen.resid = inputs[0]

        out_projections, mlp_outs = self.parts("out_projection"), self.parts("mlp_out")
        handles = [
            mlp_outs[-1].register_forward_pre_hook(neurons),
            self.final_norm.register_forward_pre_hook(resid),
        ]
        for layer, block in enumerate(self.blocks):
            handles += [
                block.register_forward_pre_hook(enter(layer)),
                out_projections[layer].register_forward_pre_hook(heads(layer)),
                out_projections[layer].register_forward_hook(keep(seen.attention, layer)),
                mlp_outs[layer].register_forward_hook(keep(seen.mlp, layer)),
            ]
        try:
            with _OnlyFloat64():
                logits = self.model(tokens, use_cache=False).logits
        finally:
            for handle in handles:
                handle.remove()
        in_order = range(self.n_layers)
        return Run(
            logits=logits,
            z=[seen.z[layer] for layer in in_order],
            attention_out=[seen.attention[layer] for layer in in_order],
            mlp_out=[seen.mlp[layer] for layer in in_order],
            neurons=seen.neurons,
            resid_final=seen.resid,
        )

"""A transformers model, unfolded and in float64, that shows its parts: the oracle's instrument.

Hooks on plain linear layers read what is needed: the input of an attention's output projection is
the heads' ``z`` side by side, and can be replaced there; the outputs of that projection and of the
MLP's last projection are what is added to the residual stream; the input of the final norm is the
residual stream at its end.

Two things are said here once:

* transformers computes norms, softmax and GPT-Neo's scores in float32 whatever the model's dtype;
  ``_OnlyFloat64`` turns these casts around, so that the oracle is exact to some 1e-13.
* The measured ``z`` is that of folded weights, in which the value bias is part of the attention's
  output bias: ``z = z_unfolded - b_V_effective``, with ``b_V_effective = b_V + W_V beta`` (``beta``
  the bias of the norm that the attention reads). A row of an attention pattern sums to 1, so this
  constant passes through the pattern unchanged. It matters: a zero ablation means zero in this
  ``z``, and a head's direct effect leaves the constant out. Where a sink takes a share of each row,
  tokens do change what the value bias brings, and all of it is the head's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from tests.helpers.models.oracle_anatomy import ANATOMY, Norm, matrix


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


@dataclass
class Run:
    """What one forward pass showed. ``z`` is the folded one (see the module's docstring).

    What a layer adds to the stream is after its post-norm, where it has one; the divisors of these
    norms are 1 where there is none.
    """

    logits: Tensor  # batch pos d_vocab: before a final cap, after a constant scale
    z: list[Tensor]  # per layer: batch pos head d_head
    attention_out: list[Tensor]  # per layer: batch pos d_model, with b_O
    mlp_out: list[Tensor]  # per layer: batch pos d_model, with b_out
    attention_post_scale: list[Tensor]  # per layer: batch pos 1
    mlp_post_scale: list[Tensor]
    neurons: Tensor  # batch pos d_mlp: last MLP's activations, as they enter its last projection
    resid_final: Tensor  # batch pos d_model: what the final norm reads


class HookedModel:
    """A model whose ``model_type`` is in ``ANATOMY``; it is turned to float64 in place."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model.double().eval()
        config = model.config
        self.anatomy = ANATOMY[config.model_type]
        if config.model_type == "falcon" and config.num_ln_in_parallel_attn == 2:
            self.anatomy = replace(self.anatomy, attention_norm="ln_attn")
        self.blocks = list(model.get_submodule(self.anatomy.blocks).children())
        self.final_norm = Norm(model.get_submodule(self.anatomy.final_norm))
        self.n_layers = len(self.blocks)
        self.n_heads: int = getattr(config, "num_attention_heads", None) or config.n_heads
        self.residual_scale: float = getattr(config, "residual_multiplier", 1.0)  # Granite's
        self.logit_scale: float = 1 / getattr(config, "logits_scaling", 1.0)  # Granite's
        if config.model_type == "cohere":
            self.logit_scale = config.logit_scale
        self.attention_post_norms = self.norms("attention_post_norm")
        self.mlp_post_norms = self.norms("mlp_post_norm")
        # A share of each attention row goes to nothing:
        self.has_sinks = any(name.endswith(".sinks") for name, _ in model.named_parameters())

    def parts(self, name: str) -> list[nn.Module]:
        """Per layer: the module that ``Anatomy`` calls ``name``."""
        return [block.get_submodule(getattr(self.anatomy, name)) for block in self.blocks]

    def norms(self, name: str) -> list[Norm | None]:
        """Per layer: the norm that ``Anatomy`` calls ``name``, or None where it names none."""
        if getattr(self.anatomy, name) is None:
            return [None] * self.n_layers
        return [Norm(module) for module in self.parts(name)]

    @cached_property
    def w_o(self) -> list[Tensor]:
        """Per layer: [head d_head d_model]."""
        return [
            matrix(projection).detach().unflatten(0, (self.n_heads, -1)) * self.residual_scale
            for projection in self.parts("out_projection")
        ]

    @cached_property
    def w_out(self) -> Tensor:
        """[d_mlp d_model]: of the last MLP."""
        return matrix(self.parts("mlp_out")[-1]).detach() * self.residual_scale

    @cached_property
    def value_bias(self) -> list[Tensor]:
        """Per layer: [head d_head], ``b_V + W_V beta``: the value of a token whose normed input
        is ``beta`` alone. Grouped query heads share that of their key-value head."""
        biases = []
        d_head = self.w_o[0].shape[1]
        for norm, value in zip(self.norms("attention_norm"), self.parts("value"), strict=True):
            beta = None if norm is None else norm.bias
            d_model = matrix(value).shape[0]
            out = value(torch.zeros(d_model, dtype=torch.float64) if beta is None else beta)
            out = out.unflatten(0, (-1, d_head))  # head-sized pieces, of queries, keys and values
            if self.anatomy.value_layout == "q k v":
                out = out[(len(out) + self.n_heads) // 2 :]
            elif self.anatomy.value_layout == "per group":
                groups = (len(out) - self.n_heads) // 2
                out = out.unflatten(0, (groups, -1))[:, -1]
            shared = out.repeat_interleave(self.n_heads // len(out), dim=0).detach()
            biases.append(torch.zeros_like(shared) if self.has_sinks else shared)
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
        seen = SimpleNamespace(
            z={}, attention={}, mlp={}, attention_scale={}, mlp_scale={}, neurons=None, resid=None
        )
        n_batch, n_pos = tokens.shape

        def keep(store: dict[int, Tensor], layer: int) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: tuple[Tensor], output: Any) -> None:
                output = output[0] if isinstance(output, tuple) else output  # GPT-OSS: with routes
                # OPT's MLP flattens its batch.
                store[layer] = output.reshape(n_batch, n_pos, -1) * self.residual_scale

            return hook

        def keep_normed(
            store: dict[int, Tensor], scales: dict[int, Tensor], layer: int, norm: Norm
        ) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
                store[layer], scales[layer] = output, norm.scale(inputs[0])

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

        def logits(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            seen.logits = output * self.logit_scale

        out_projections, mlp_outs = self.parts("out_projection"), self.parts("mlp_out")
        final_norm = self.model.get_submodule(self.anatomy.final_norm)
        unembedding = self.model.get_output_embeddings()
        assert unembedding is not None
        handles = [
            mlp_outs[-1].register_forward_pre_hook(neurons),
            final_norm.register_forward_pre_hook(resid),
            unembedding.register_forward_hook(logits),
        ]
        for layer, block in enumerate(self.blocks):
            handles += [
                block.register_forward_pre_hook(enter(layer)),
                out_projections[layer].register_forward_pre_hook(heads(layer)),
            ]
            for store, scales, out, norms, name in (
                (seen.attention, seen.attention_scale, out_projections[layer],
                 self.attention_post_norms, "attention_post_norm"),
                (seen.mlp, seen.mlp_scale, mlp_outs[layer], self.mlp_post_norms, "mlp_post_norm"),
            ):  # fmt: skip
                norm = norms[layer]
                if norm is None:
                    scales[layer] = torch.ones(n_batch, n_pos, 1, dtype=torch.float64)
                    handles.append(out.register_forward_hook(keep(store, layer)))
                else:
                    hook = keep_normed(store, scales, layer, norm)
                    handles.append(self.parts(name)[layer].register_forward_hook(hook))
        try:
            with _OnlyFloat64():
                self.model(tokens, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        in_order = range(self.n_layers)
        return Run(
            logits=seen.logits,
            z=[seen.z[layer] for layer in in_order],
            attention_out=[seen.attention[layer] for layer in in_order],
            mlp_out=[seen.mlp[layer] for layer in in_order],
            attention_post_scale=[seen.attention_scale[layer] for layer in in_order],
            mlp_post_scale=[seen.mlp_scale[layer] for layer in in_order],
            neurons=seen.neurons,
            resid_final=seen.resid,
        )

"""A TransformerBridge with hooks where measuring looks, and what measuring assumes of a model.

No more than that the residual stream is the sum of the components' outputs, that a head's output
is its slice of `z` through its slice of `W_O` (and perhaps through an RMS norm behind it), and that
the logits are one norm and one linear map away from the last residual stream. That is measured on a
sample (`check_structure`); a model of another structure is refused.

`z` is what tokens can change of it. Where folding leaves a value bias or a norm's bias in place,
their part of `z`, the same at every token, is found (`_constant_z`), taken off and put back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.model.logits import ConstantScales, uncapped
from selfrepair_assets.measurement.model.models import LoadedModel

STRUCTURE_TOLERANCE = 1e-3
"""Largest deviation, as a share of the largest value, that is rounding."""
NO_CONSTANT = 1e-6
"""Largest constant part of `z`, as a share of the largest `z`, that rounding makes."""


@dataclass
class Activations:
    """What one forward pass leaves: per layer z, attn_out, mlp_out; the last residual stream."""

    z: dict[int, Tensor]  # batch pos head d_head
    attn_out: dict[int, Tensor]  # batch pos d_model: what is added to the stream
    attn_before: dict[int, Tensor]  # batch pos d_model: what a post-norm reads, else attn_out
    mlp_out: dict[int, Tensor]
    mlp_before: dict[int, Tensor]
    mlp_post: Tensor  # batch pos d_mlp: of the last layer; empty where the model shows none
    resid: Tensor  # batch pos d_model: what the final norm reads
    logits: Tensor


class HookedModel:
    """Runs a bridge with one head's `z` replaced, or with something added to a residual stream."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.bridge, self.loaded = loaded.bridge, loaded
        self.eps = loaded.bridge.cfg.eps
        scales = ConstantScales.of(loaded.bridge.original_model.config)
        gamma, beta = self._applied(loaded.bridge.ln_final, loaded.normalization)
        W_U = loaded.bridge.W_U.detach().float() * scales.logits  # d_model d_vocab
        b_U = getattr(loaded.bridge, "b_U", None)
        b_U = torch.zeros_like(W_U[0]) if b_U is None else b_U.detach().float() * scales.logits
        self.directions = (W_U * gamma[:, None]).T.contiguous()
        self.bias = b_U + beta @ W_U
        if loaded.normalization == "LN":
            self.directions -= self.directions.mean(-1, keepdim=True)
        if loaded.center_unembed:
            self.directions -= self.directions.mean(0, keepdim=True)
            self.bias -= self.bias.mean()
        self.attn_gamma = [self._post_norm(block, "ln1_post") for block in self.bridge.blocks]
        self.mlp_gamma = [self._post_norm(block, "ln2_post") for block in self.bridge.blocks]
        self.residual_scale = scales.residual
        self.W_O = []  # per layer: head d_head d_model
        for layer, block in enumerate(self.bridge.blocks):
            W_O = getattr(block.attn, "W_O", None)
            if not isinstance(W_O, Tensor):
                raise InputError(
                    f"Layer {layer} of '{loaded.name}' ({loaded.architecture}) shows no W_O: the "
                    "output of a single head cannot be told apart. Choose another model."
                )
            W_O = W_O.detach().float().reshape(loaded.n_heads, -1, loaded.d_model)
            self.W_O.append(W_O * scales.residual)
        self.W_out: Tensor | None = None  # d_mlp d_model
        nothing = torch.zeros(loaded.n_heads, 1, device=loaded.device)
        self.constant_z = [nothing] * loaded.n_layers
        self.constant_z = self._constant_z()  # per layer: head d_head
        self.W_out = self._last_w_out()
        self.check_structure()

    def check_structure(self) -> None:
        """Measure on a few tokens that the model is what this engine takes it for.

        Raises:
            InputError: it is not.
        """
        sample = self._sample()
        with torch.inference_mode():
            run = self.run(sample)
            resid = run.resid
            layers = range(self.loaded.n_layers)
            parts = sum(run.attn_out[i] + run.mlp_out[i] for i in layers)
            embedding = self._first_resid(sample)
            biases = [run.attn_before[i] - self._attn_out(i, run.z[i]) for i in layers]
            normed = [
                _deviation(before * self.post_scale(gamma, before), out)
                for gammas, befores, outs in (
                    (self.attn_gamma, run.attn_before, run.attn_out),
                    (self.mlp_gamma, run.mlp_before, run.mlp_out),
                )
                for gamma, before, out in zip(gammas, befores.values(), outs.values(), strict=True)
            ]
            x, scale = self.normalize(resid)
            ours, theirs = x / scale @ self.directions.T + self.bias, run.logits
            if self.loaded.final_cap is not None:
                theirs = uncapped(theirs, self.loaded.final_cap)
            ours, theirs = (t - t.mean(-1, keepdim=True) for t in (ours, theirs))
            faults = {
                "the residual stream is not the sum of its components": _deviation(
                    embedding + parts, resid
                ),
                "the heads' outputs do not add up to the attention's": max(
                    _deviation(b, b[:, :1].expand_as(b), run.attn_before[i])
                    for i, b in enumerate(biases)
                ),
                "what attention or MLP write is normed in a way that is not known": max(normed),
                "the logits are not a norm and a linear map of the last residual": _deviation(
                    ours, theirs
                ),
            }
        for fault, deviation in faults.items():
            if not deviation <= STRUCTURE_TOLERANCE:
                raise InputError(
                    f"'{self.loaded.name}' ({self.loaded.architecture}) cannot be measured: "
                    f"{fault} (deviation {deviation:.2g}). "
                    "Choose another model."
                )

    def run(
        self,
        tokens: Tensor,
        replace: tuple[int, int, Tensor] | None = None,
        feed: Sequence[tuple[str, Any]] = (),
    ) -> Activations:
        """One forward pass.

        Args:
            replace: a layer, a head and its new `z` (batch, pos, d_head).
            feed: names of hooks, each with a function that changes what it sees.
        """
        names = ("z", "attn_out", "attn_before", "mlp_out", "mlp_before")
        kept: dict[str, dict[int, Tensor]] = {name: {} for name in names}
        resid: list[Tensor] = []

        def keep(tensor: Tensor, hook: Any, *, name: str, layer: int) -> None:
            kept[name][layer] = tensor.detach()

        def z_hook(tensor: Tensor, hook: Any, *, layer: int) -> Tensor | None:
            z = tensor if tensor.ndim == 4 else tensor.unflatten(-1, (self.loaded.n_heads, -1))
            kept["z"][layer] = z.detach() - self.constant_z[layer]
            if replace is None or replace[0] != layer:
                return None
            z = z.clone()
            z[:, :, replace[1]] = replace[2] + self.constant_z[layer][replace[1]]
            return z.view(tensor.shape)

        post: list[Tensor] = [tokens.new_zeros(0)]
        hooks: list[tuple[str, Any]] = [("ln_final.hook_in", lambda x, hook: resid.append(x))]
        if self.W_out is not None:
            name = f"blocks.{self.loaded.n_layers - 1}.mlp.hook_post"
            hooks.append((name, lambda x, hook: post.append(x)))
        hooks += feed
        for i in range(self.loaded.n_layers):
            hooks.append((f"blocks.{i}.attn.hook_z", partial(z_hook, layer=i)))
            for name, gammas in (("attn", self.attn_gamma), ("mlp", self.mlp_gamma)):
                if gammas[i] is not None:
                    before = partial(keep, name=f"{name}_before", layer=i)
                    hooks.append((f"blocks.{i}.{name}.hook_out", before))
                to_stream = partial(keep, name=f"{name}_out", layer=i)
                hooks.append((f"blocks.{i}.hook_{name}_out", to_stream))
        try:
            logits = self.bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        except (KeyError, AttributeError) as error:
            raise InputError(
                f"'{self.loaded.name}' ({self.loaded.architecture}) lacks a hook that measuring "
                f"needs: {error}. Choose another model."
            ) from error
        kept["attn_before"] = kept["attn_out"] | kept["attn_before"]
        kept["mlp_before"] = kept["mlp_out"] | kept["mlp_before"]
        return Activations(**kept, mlp_post=post[-1], resid=resid[0], logits=logits)

    def _constant_z(self) -> list[Tensor]:
        """Per layer the part of `z` that no token can change: (head, d_head).

        It is the value bias, and the bias `b` of the norm before the attention through `W_V`. Where
        every position brings `b` alone, `z` is this part, as a row of a pattern sums to 1; what
        `b + d` adds to it, `b - d` takes away. `b` is half of what enters the attention when the
        residual stream is x and when it is -x, whatever a family calls its norm.

        Raises:
            InputError: there is such a part, and tokens change it all the same.
        """
        if _has_sinks(self.bridge):  # tokens change how much of it a row of a pattern lets through
            return self.constant_z
        x = _alternating(self.loaded)
        plus, minus = self._attention_inputs(x), self._attention_inputs(-x)
        biases = [(p + m) / 2 for p, m in zip(plus, minus, strict=True)]
        constant, more, less = (self._z_of(inputs) for inputs in (biases, plus, minus))
        for layer, z in enumerate(constant):
            size = more[layer]
            if _deviation(z, torch.zeros_like(z), size) <= NO_CONSTANT:
                continue
            unlike = _deviation(z, z[:, :1].expand_as(z), size)
            unbalanced = _deviation((more[layer] + less[layer]) / 2, z, size)
            if not max(unlike, unbalanced) <= STRUCTURE_TOLERANCE:
                raise InputError(
                    f"Layer {layer} of '{self.loaded.name}' ({self.loaded.architecture}) has value "
                    "biases that cannot be told apart from what tokens bring: a head's direct "
                    "effect would count them. Choose another model."
                )
        return [z[0, 0] for z in constant]

    def _attention_inputs(self, resid: Tensor) -> list[Tensor]:
        """Per layer what enters the attention, if `resid` (d_model) enters the layer everywhere."""
        seen: dict[int, Tensor] = {}

        def see(tensor: Tensor, hook: Any, *, layer: int) -> None:
            seen[layer] = tensor.detach().float()

        layers = range(self.loaded.n_layers)
        self.run(
            self._sample(),
            feed=[
                *((f"blocks.{i}.hook_resid_pre", _give(resid)) for i in layers),
                *((f"blocks.{i}.attn.hook_in", partial(see, layer=i)) for i in layers),
            ],
        )
        return [seen[layer][0, 0] for layer in layers]

    def _z_of(self, inputs: list[Tensor]) -> list[Tensor]:
        """Per layer `z` (1, pos, head, d_head), if `inputs` (d_model) enter the attention."""
        feed = [(f"blocks.{i}.attn.hook_in", _give(value)) for i, value in enumerate(inputs)]
        z = self.run(self._sample(), feed=feed).z
        return [z[layer].float() for layer in range(self.loaded.n_layers)]

    def _sample(self) -> Tensor:
        """A few tokens: (1, pos)."""
        sample = torch.arange(min(6, self.loaded.n_ctx), device=self.loaded.device)[None]
        return sample % self.loaded.d_vocab

    def _first_resid(self, tokens: Tensor) -> Tensor:
        kept: list[Tensor] = []
        hook = ("blocks.0.hook_resid_pre", lambda x, hook: kept.append(x.detach()))
        self.bridge.run_with_hooks(tokens, fwd_hooks=[hook])
        return kept[0]

    def _last_w_out(self) -> Tensor | None:
        """The last MLP layer's `W_out`, where neurons times it are that layer's output."""
        self.W_out = getattr(self.bridge.blocks[-1].mlp, "W_out", None)
        if not isinstance(self.W_out, Tensor) or self.W_out.ndim != 2:
            return None
        W_out = self.W_out.detach().float() * self.residual_scale
        with torch.inference_mode():
            run = self.run(self._sample())
            if run.mlp_post.shape[-1] != len(W_out):
                return None
            bias = (out := run.mlp_before[self.loaded.n_layers - 1]) - run.mlp_post @ W_out
        same = _deviation(bias, bias[:, :1].expand_as(bias), out)
        return W_out if same <= STRUCTURE_TOLERANCE else None

    def _attn_out(self, layer: int, z: Tensor) -> Tensor:
        """The sum of the heads' outputs, without `b_O`."""
        return torch.einsum("bphe,hed->bpd", z, self.W_O[layer])

    def head_effects(self, layer: int, z: Tensor, u: Tensor) -> Tensor:
        """`(z_h W_O[h]) . u_t`, before the division by S: (batch, pos, head)."""
        return torch.einsum("bphe,bphe->bph", z, torch.einsum("bpd,hed->bphe", u, self.W_O[layer]))

    def normalize(self, x: Tensor, normalization: str | None = None) -> tuple[Tensor, Tensor]:
        """x (centred for LayerNorm) and its scale S."""
        x = x.float()
        if (normalization or self.loaded.normalization) == "LN":
            x = x - x.mean(-1, keepdim=True)
        return x, (x.square().mean(-1, keepdim=True) + self.eps).sqrt()

    def post_scale(self, gamma: Tensor | None, before: Tensor) -> Tensor:
        """`gamma / S_post` of what a post-norm reads, (batch, pos, d_model); 1 without one."""
        if gamma is None:
            return torch.ones((), device=before.device)
        return gamma * (before.float().square().mean(-1, keepdim=True) + self.eps).rsqrt()

    def _post_norm(self, block: Any, name: str) -> Tensor | None:
        norm = getattr(block, name, None)
        return None if norm is None else self._applied(norm, "RMS")[0]

    def _applied(self, norm: Any, normalization: str) -> tuple[Tensor, Tensor]:
        """Weight and bias that a norm applies, read off its answers to +1 -1 +1 ...

        That holds whatever a family calls its weights or adds to them.
        """
        x = _alternating(self.loaded)[None, None]
        with torch.inference_mode():
            plus, minus = norm(x)[0, 0], norm(-x)[0, 0]
        x, scale = self.normalize(x, normalization)
        return (plus - minus) / 2 * scale[0, 0] / x[0, 0], (plus + minus) / 2


def _has_sinks(bridge: Any) -> bool:
    """A share of each attention row goes to nothing."""
    return any(name.endswith("sinks") for name, _ in bridge.original_model.named_parameters())


def _alternating(loaded: LoadedModel) -> Tensor:
    """+1 -1 +1 ...: (d_model)."""
    x = torch.ones(loaded.d_model, device=loaded.device)
    x[1::2] = -1
    return x


def _give(value: Tensor) -> Any:
    """A hook that puts `value` (d_model) at every position."""
    return lambda tensor, hook: value.to(tensor.dtype).expand_as(tensor)


def _deviation(ours: Tensor, theirs: Tensor, size: Tensor | None = None) -> float:
    largest = (theirs if size is None else size).abs().max().clamp_min(1e-30)
    return ((ours - theirs).abs().max() / largest).item()

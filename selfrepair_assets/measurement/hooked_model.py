"""A TransformerBridge with hooks where measuring looks, and what measuring assumes of a model.

No more than that the residual stream is the sum of the components' outputs, that a head's output
is its slice of `z` through its slice of `W_O`, and that the logits are one norm and one linear map
away from the last residual stream. That is measured on a sample (`check_structure`); a model of
another structure is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.models import LoadedModel

STRUCTURE_TOLERANCE = 1e-3
"""Largest deviation, as a share of the largest value, that is rounding."""


@dataclass
class Activations:
    """What one forward pass leaves: per layer z, attn_out, mlp_out; the last residual stream."""

    z: dict[int, Tensor]  # batch pos head d_head
    attn_out: dict[int, Tensor]  # batch pos d_model
    mlp_out: dict[int, Tensor]
    mlp_post: Tensor  # batch pos d_mlp: of the last layer; empty where the model shows none
    resid: Tensor  # batch pos d_model: what the final norm reads
    logits: Tensor


class HookedModel:
    """Runs a bridge with one head's `z` replaced, or with something added to a residual stream."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.bridge, self.loaded = loaded.bridge, loaded
        self.eps = loaded.bridge.cfg.eps
        gamma, beta = self._final_norm()
        W_U = loaded.bridge.W_U.detach().float()  # d_model d_vocab
        b_U = getattr(loaded.bridge, "b_U", None)
        b_U = torch.zeros_like(W_U[0]) if b_U is None else b_U.detach().float()
        self.directions = (W_U * gamma[:, None]).T.contiguous()
        self.bias = b_U + beta @ W_U
        if loaded.normalization == "LN":
            self.directions -= self.directions.mean(-1, keepdim=True)
        self.W_O = []  # per layer: head d_head d_model
        for layer, block in enumerate(self.bridge.blocks):
            W_O = getattr(block.attn, "W_O", None)
            if not isinstance(W_O, Tensor):
                raise InputError(
                    f"Layer {layer} of '{loaded.name}' ({loaded.architecture}) shows no W_O: the "
                    "output of a single head cannot be told apart. Choose another model."
                )
            b_V = getattr(block.attn, "b_V", None)
            if isinstance(b_V, Tensor) and not loaded.folded and b_V.abs().max() > 0:
                raise InputError(
                    f"'{loaded.name}' ({loaded.architecture}) has value biases that "
                    "TransformerLens cannot fold: a head's direct effect would count them. "
                    "Choose another model."
                )
            self.W_O.append(W_O.detach().float().reshape(loaded.n_heads, -1, loaded.d_model))
        self.W_out: Tensor | None = self._last_w_out()  # d_mlp d_model
        self.check_structure()

    def center_unembed(self) -> None:
        """Subtract the vocabulary's mean; the folded weights of a bridge have that done."""
        self.directions -= self.directions.mean(0, keepdim=True)
        self.bias -= self.bias.mean()

    def check_structure(self) -> None:
        """Measure on a few tokens that the model is what this engine takes it for.

        Raises:
            InputError: it is not.
        """
        sample = torch.arange(min(6, self.loaded.n_ctx), device=self.loaded.device)[None]
        with torch.inference_mode():
            run = self.run(sample % self.loaded.d_vocab)
            resid = run.resid
            layers = range(self.loaded.n_layers)
            parts = sum(run.attn_out[i] + run.mlp_out[i] for i in layers)
            embedding = self._first_resid(sample % self.loaded.d_vocab)
            biases = [run.attn_out[i] - self._attn_out(i, run.z[i]) for i in layers]
            x, scale = self.normalize(resid)
            ours, theirs = x / scale @ self.directions.T + self.bias, run.logits
            ours, theirs = (t - t.mean(-1, keepdim=True) for t in (ours, theirs))
            faults = {
                "the residual stream is not the sum of its components": _deviation(
                    embedding + parts, resid
                ),
                "the heads' outputs do not add up to the attention's": max(
                    _deviation(b, b[:, :1].expand_as(b), run.attn_out[i])
                    for i, b in enumerate(biases)
                ),
                "the logits are not a norm and a linear map of the last residual": _deviation(
                    ours, theirs
                ),
            }
        for fault, deviation in faults.items():
            if not deviation <= STRUCTURE_TOLERANCE:
                raise InputError(
                    f"'{self.loaded.name}' ({self.loaded.architecture}) cannot be measured: "
                    f"{fault} (deviation {deviation:.2g}). "
                    "Choose a model without post-norms or soft-capping."
                )

    def run(
        self,
        tokens: Tensor,
        replace: tuple[int, int, Tensor] | None = None,
        feed: tuple[str, Any] | None = None,
    ) -> Activations:
        """One forward pass.

        Args:
            replace: a layer, a head and its new `z` (batch, pos, d_head).
            feed: a hook's name and a function that changes what it sees.
        """
        kept: dict[str, dict[int, Tensor]] = {"z": {}, "attn_out": {}, "mlp_out": {}}
        resid: list[Tensor] = []

        def keep(tensor: Tensor, hook: Any, *, name: str, layer: int) -> None:
            kept[name][layer] = tensor.detach()

        def z_hook(tensor: Tensor, hook: Any, *, layer: int) -> Tensor | None:
            z = tensor if tensor.ndim == 4 else tensor.unflatten(-1, (self.loaded.n_heads, -1))
            kept["z"][layer] = z.detach()
            if replace is None or replace[0] != layer:
                return None
            z = z.clone()
            z[:, :, replace[1]] = replace[2]
            return z.view(tensor.shape)

        post: list[Tensor] = [tokens.new_zeros(0)]
        hooks: list[tuple[str, Any]] = [("ln_final.hook_in", lambda x, hook: resid.append(x))]
        if self.W_out is not None:
            name = f"blocks.{self.loaded.n_layers - 1}.mlp.hook_post"
            hooks.append((name, lambda x, hook: post.append(x)))
        hooks += [feed] if feed is not None else []
        for i in range(self.loaded.n_layers):
            hooks.append((f"blocks.{i}.attn.hook_z", partial(z_hook, layer=i)))
            for name in ("attn_out", "mlp_out"):
                hooks.append((f"blocks.{i}.hook_{name}", partial(keep, name=name, layer=i)))
        try:
            logits = self.bridge.run_with_hooks(tokens, fwd_hooks=hooks)
        except (KeyError, AttributeError) as error:
            raise InputError(
                f"'{self.loaded.name}' ({self.loaded.architecture}) lacks a hook that measuring "
                f"needs: {error}. Choose another model."
            ) from error
        return Activations(**kept, mlp_post=post[-1], resid=resid[0], logits=logits)

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
        W_out = self.W_out.detach().float()
        sample = torch.arange(min(6, self.loaded.n_ctx), device=self.loaded.device)[None]
        with torch.inference_mode():
            run = self.run(sample % self.loaded.d_vocab)
            if run.mlp_post.shape[-1] != len(W_out):
                return None
            bias = run.mlp_out[self.loaded.n_layers - 1] - run.mlp_post @ W_out
        same = _deviation(bias, bias[:, :1].expand_as(bias), run.mlp_out[self.loaded.n_layers - 1])
        return W_out if same <= STRUCTURE_TOLERANCE else None

    def _attn_out(self, layer: int, z: Tensor) -> Tensor:
        """The sum of the heads' outputs, without `b_O`."""
        return torch.einsum("bphe,hed->bpd", z, self.W_O[layer])

    def head_effects(self, layer: int, z: Tensor, u: Tensor) -> Tensor:
        """`(z_h W_O[h]) . u_t`, before the division by S: (batch, pos, head)."""
        return torch.einsum("bphe,bphe->bph", z, torch.einsum("bpd,hed->bphe", u, self.W_O[layer]))

    def normalize(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (centred for LayerNorm) and its scale S."""
        x = x.float()
        if self.loaded.normalization == "LN":
            x = x - x.mean(-1, keepdim=True)
        return x, (x.square().mean(-1, keepdim=True) + self.eps).sqrt()

    def _final_norm(self) -> tuple[Tensor, Tensor]:
        """Weight and bias that the final norm applies, read off its answers to +1 -1 +1 ...

        That holds whatever a family calls its weights or adds to them, folded or not.
        """
        x = torch.ones(1, 1, self.loaded.d_model, device=self.loaded.device)
        x[..., 1::2] = -1
        with torch.inference_mode():
            plus, minus = self.bridge.ln_final(x)[0, 0], self.bridge.ln_final(-x)[0, 0]
        x, scale = self.normalize(x)
        return (plus - minus) / 2 * scale[0, 0] / x[0, 0], (plus + minus) / 2


def _deviation(ours: Tensor, theirs: Tensor, size: Tensor | None = None) -> float:
    largest = (theirs if size is None else size).abs().max().clamp_min(1e-30)
    return ((ours - theirs).abs().max() / largest).item()

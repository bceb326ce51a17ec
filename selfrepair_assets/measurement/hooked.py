"""The fallback engine: one hooked forward pass per head, for whatever TransformerBridge loads.

Slow and general. It needs no more of a model than that the residual stream is the sum of the
components' outputs, that a head's output is its slice of `z` through its slice of `W_O`, and that
the logits are one norm and one linear map away from the last residual stream. That is measured on
a sample before anything else (`check_structure`); a model of another structure is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from selfrepair_assets.measurement.clean_run import CleanFacts, dot
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.models import LoadedModel
from selfrepair_assets.measurement.perturbation import AblatedHeads
from selfrepair_assets.measurement.run_spec import Head

STRUCTURE_TOLERANCE = 1e-3
"""Largest deviation, as a share of the largest value, that is rounding."""


@dataclass
class _Activations:
    """What one forward pass leaves: per layer z, attn_out, mlp_out; the last residual stream."""

    z: dict[int, Tensor]  # batch pos head d_head
    attn_out: dict[int, Tensor]  # batch pos d_model
    mlp_out: dict[int, Tensor]
    resid: Tensor  # batch pos d_model: what the final norm reads
    logits: Tensor


class HookedEngine:
    """Run a bridge clean and with one head's `z` replaced at a time."""

    name = "hooked"

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
            self.W_O.append(W_O.detach().float().reshape(loaded.n_heads, -1, loaded.d_model))
        self.check_structure()

    def center_unembed(self) -> None:
        """Subtract the vocabulary's mean; the folded weights of a bridge have that done."""
        self.directions -= self.directions.mean(0, keepdim=True)
        self.bias -= self.bias.mean()

    def logits(self, tokens: Tensor) -> Tensor:
        x = self._run(tokens).resid
        x, scale = self._normalize(x)
        return x / scale @ self.directions.T + self.bias

    @torch.inference_mode()
    def clean_facts(self, tokens: Tensor) -> CleanFacts:
        run = self._run(tokens)
        u = self.directions[tokens[:, 1:]]
        x, scale = self._normalize(run.resid[:, :-1])
        scale = scale.squeeze(-1)
        layers = range(self.loaded.n_layers)
        bias = self.bias[tokens[:, 1:]]
        heads = [self._head_effects(layer, run.z[layer][:, :-1], u) for layer in layers]
        return CleanFacts(
            logit=dot(x, u) / scale + bias,
            logit_bias=bias,
            ln_scale=scale,
            head_effects=(torch.stack(heads) / scale[..., None]).movedim(-1, 1),
            mlp_effects=torch.stack([dot(run.mlp_out[i][:, :-1], u) for i in layers]) / scale,
            z_sum=torch.stack([run.z[i].double().sum((0, 1)) for i in layers]),
        )

    @torch.inference_mode()
    def ablate_heads(
        self,
        tokens: Tensor,
        *,
        partner_tokens: Tensor | None,
        mean_z: Tensor | None,
        heads: Sequence[Head],
        ablations: Sequence[str],
        layer_precision: Sequence[str],
        rows_at_once: int,
    ) -> Iterator[AblatedHeads]:
        """As `perturbation.ablate_heads`; always fp32, one head after another."""
        clean = self._run(tokens)
        partners = self._run(partner_tokens) if partner_tokens is not None else None
        for ablation in ablations:
            for layer in sorted({head.layer for head in heads}):
                of_layer = sorted(head for head in heads if head.layer == layer)
                if ablation == "resample":
                    if partners is None:
                        raise ValueError("resample ablation needs partner_tokens")
                    replacement = partners.z[layer]
                elif ablation == "mean":
                    if mean_z is None:
                        raise ValueError("mean ablation needs mean_z")
                    replacement = mean_z[layer].to(tokens.device, torch.float32)
                else:
                    replacement = torch.zeros((), device=tokens.device)
                rows = [self._ablate(tokens, clean, head, replacement) for head in of_layer]
                columns = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
                yield AblatedHeads(ablation, of_layer, columns)

    def bytes_per_sequence(self, positions: int) -> int:
        return self.bytes_per_row(positions)

    def bytes_per_row(self, positions: int) -> int:
        m = self.loaded
        per_layer = 3 * m.d_model + m.d_mlp + m.n_heads * positions
        return 4 * positions * (m.n_layers * per_layer + 3 * m.d_vocab)

    def check_structure(self) -> None:
        """Measure on a few tokens that the model is what this engine takes it for.

        Raises:
            InputError: it is not.
        """
        sample = torch.arange(min(6, self.loaded.n_ctx), device=self.loaded.device)[None]
        with torch.inference_mode():
            run = self._run(sample % self.loaded.d_vocab)
            resid = run.resid
            layers = range(self.loaded.n_layers)
            parts = sum(run.attn_out[i] + run.mlp_out[i] for i in layers)
            embedding = self._first_resid(sample % self.loaded.d_vocab)
            biases = [run.attn_out[i] - self._attn_out(i, run.z[i]) for i in layers]
            x, scale = self._normalize(resid)
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
                    f"'{self.loaded.name}' ({self.loaded.architecture}) cannot be measured: {fault} "
                    f"(deviation {deviation:.2g}). Choose a model without post-norms or soft-capping."
                )

    def _ablate(
        self, tokens: Tensor, clean: _Activations, head: Head, replacement: Tensor
    ) -> dict[str, Tensor]:
        layer, index = head.layer, head.head
        z = clean.z[layer]
        new = replacement.expand_as(z)[:, :, index]
        run = self._run(tokens, replace=(layer, index, new))
        u = self.directions[tokens[:, 1:]]
        x, scale = self._normalize(clean.resid[:, :-1])
        x_ablated, scale_ablated = self._normalize(run.resid[:, :-1])
        scale, scale_ablated = scale.squeeze(-1), scale_ablated.squeeze(-1)

        def change(name: str, i: int) -> Tensor:
            after, before = getattr(run, name)[i], getattr(clean, name)[i]
            return dot((after - before)[:, :-1], u) / scale

        nothing = torch.zeros_like(scale)
        last = self.loaded.n_layers - 1
        first_mlp = layer + 1 if self.loaded.parallel_attention else layer
        own = u @ self.W_O[layer][index].T  # batch pos d_head: u_t through the head's W_O
        effect = dot(z[:, :-1, index], own) / scale
        return {
            "direct_effect": effect,
            "direct_effect_ablated": effect + dot((new - z[:, :, index])[:, :-1], own) / scale,
            "logit_change": dot(x_ablated, u) / scale_ablated - dot(x, u) / scale,
            "ln_scale_ablated": scale_ablated,
            "self_repair_from_heads": sum(
                (change("attn_out", i) for i in range(layer + 1, last + 1)), start=nothing
            ),
            "self_repair_from_mlps": sum(
                (change("mlp_out", i) for i in range(first_mlp, last + 1)), start=nothing
            ),
            "self_repair_from_last_mlp": change("mlp_out", last) if first_mlp <= last else nothing,
        }

    def _run(self, tokens: Tensor, replace: tuple[int, int, Tensor] | None = None) -> _Activations:
        """One forward pass; `replace` is a layer, a head and its new `z` (batch, pos, d_head)."""
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

        hooks: list[tuple[str, Any]] = [("ln_final.hook_in", lambda x, hook: resid.append(x))]
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
        return _Activations(**kept, resid=resid[0], logits=logits)

    def _first_resid(self, tokens: Tensor) -> Tensor:
        kept: list[Tensor] = []
        hook = ("blocks.0.hook_resid_pre", lambda x, hook: kept.append(x.detach()))
        self.bridge.run_with_hooks(tokens, fwd_hooks=[hook])
        return kept[0]

    def _attn_out(self, layer: int, z: Tensor) -> Tensor:
        """The sum of the heads' outputs, without `b_O`."""
        return torch.einsum("bphe,hed->bpd", z, self.W_O[layer])

    def _head_effects(self, layer: int, z: Tensor, u: Tensor) -> Tensor:
        """`(z_h W_O[h]) . u_t`, before the division by S: (batch, pos, head)."""
        return torch.einsum("bphe,bphe->bph", z, torch.einsum("bpd,hed->bphe", u, self.W_O[layer]))

    def _normalize(self, x: Tensor) -> tuple[Tensor, Tensor]:
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
        _, scale = self._normalize(x)
        return (plus - minus) / 2 * scale[0, 0] * x[0, 0], (plus + minus) / 2


def _deviation(ours: Tensor, theirs: Tensor, size: Tensor | None = None) -> float:
    largest = (theirs if size is None else size).abs().max().clamp_min(1e-30)
    return ((ours - theirs).abs().max() / largest).item()

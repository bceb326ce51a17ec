"""The fallback engine: one hooked forward pass per head, for whatever TransformerBridge loads.

Slow and general; `hooked_model` says what it needs of a model. A line-by-line reading of the
definitions, where `perturbation` is a fast one of the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.linalg import vecdot

from selfrepair_assets.measurement.ablations import any_needs
from selfrepair_assets.measurement.engine.interface import AblationRequest, tokens_on
from selfrepair_assets.measurement.engine.kept_details import KeptDetails, answer
from selfrepair_assets.measurement.engine.results import CleanFacts, MeasuredHeads
from selfrepair_assets.measurement.heads import Head, by_layer
from selfrepair_assets.measurement.model.hooked_model import Activations, HookedModel
from selfrepair_assets.measurement.model.models import LoadedModel


def bytes_of_pass(m: LoadedModel, positions: int) -> int:
    """What a pass over one sequence takes at most."""
    per_layer = 3 * m.d_model + m.d_mlp + m.n_heads * positions
    return 4 * positions * (m.n_layers * per_layer + 3 * m.d_vocab)


class HookedEngine(HookedModel):
    """Run a bridge clean and with one head's `z` replaced at a time."""

    name = "hooked"

    @property
    def has_neurons(self) -> bool:
        """Whether the last MLP layer's output is its neurons times one matrix."""
        return self.W_out is not None

    def logits(self, tokens: Tensor) -> Tensor:
        x = self.run(tokens).resid
        x, scale = self.normalize(x)
        return x / scale @ self.directions.T + self.bias

    @torch.inference_mode()
    def clean_facts(self, tokens: Tensor) -> CleanFacts:
        run = self.run(tokens)
        u = self.directions[tokens[:, 1:]]
        x, scale = self.normalize(run.resid[:, :-1])
        scale = scale.squeeze(-1)
        layers = range(self.loaded.n_layers)
        bias = self.bias[tokens[:, 1:]]
        heads = [
            self.head_effects(layer, run.z[layer][:, :-1], self._before_norm(run, layer, u))
            for layer in layers
        ]
        return CleanFacts(
            logit=vecdot(x, u) / scale + bias,
            logit_bias=bias,
            ln_scale=scale,
            head_effects=(torch.stack(heads) / scale[..., None]).movedim(-1, 1),
            mlp_effects=torch.stack([vecdot(run.mlp_out[i][:, :-1], u) for i in layers]) / scale,
            z_sum=torch.stack([run.z[i].double().sum((0, 1)) for i in layers]),
        )

    @torch.inference_mode()
    def ablate_heads(
        self, request: AblationRequest, layer_precision: Sequence[str], rows_at_once: int
    ) -> Iterator[MeasuredHeads]:
        """Always in fp32, one head after another."""
        tokens = tokens_on(self.loaded.device, request.tokens)
        clean = self.run(tokens)
        partners: Activations | None = None
        if any_needs(request.ablations, "partner_tokens"):
            assert request.partner_tokens is not None  # the request has looked
            partners = self.run(tokens_on(self.loaded.device, request.partner_tokens))
        for kind, heads in request.parts:
            layer = heads[0].layer
            partner_z = None if partners is None else partners.z[layer]
            z = request.layer_z(layer, clean.z[layer], partner_z)
            new_z = kind.replacement(z).expand_as(clean.z[layer])
            parts = []
            for head in heads:
                details = KeptDetails.wanted(request, [head], self.loaded.device)
                columns, scale = self._ablate(tokens, clean, head, new_z, details)
                parts.append(answer(kind.name, [head], columns, details, scale))
            yield MeasuredHeads.of_heads(parts)

    @torch.inference_mode()
    def reinforce_heads(
        self, tokens: Tensor, heads: Sequence[Head], scales: Sequence[float], rows_at_once: int
    ) -> Iterator[MeasuredHeads]:
        """As `self_reinforcement.reinforce_heads`: here really one run per position."""
        clean = self.run(tokens)
        for _, of_layer in by_layer(heads).items():
            yield MeasuredHeads.of_heads(
                [self._reinforce(tokens, clean, head, scales) for head in of_layer]
            )

    def _reinforce(
        self, tokens: Tensor, clean: Activations, head: Head, scales: Sequence[float]
    ) -> MeasuredHeads:
        W_O = self.W_O[head.layer][head.head]
        z = clean.z[head.layer][:, :, head.head]
        u = self.directions[tokens[:, 1:]]
        own = self._before_norm(clean, head.layer, u) @ W_O.T
        to_stream = self.post_scale(
            self.attn_gamma[head.layer], clean.attn_before[head.layer]
        ).expand_as(clean.resid)
        _, scale = self.normalize(clean.resid[:, :-1])
        scale = scale.squeeze(-1)
        after = torch.zeros(len(scales), *scale.shape, device=scale.device)
        ln_scale = torch.zeros_like(after)
        for i, factor in enumerate(scales):
            for p in range(tokens.shape[1] - 1):
                add = factor * z[:, p] @ W_O * to_stream[:, p]

                def feed(resid: Tensor, hook: Any, p: int = p, add: Tensor = add) -> Tensor:
                    resid = resid.clone()
                    resid[:, p] += add
                    return resid

                run = self.run(tokens, feed=[(f"blocks.{head.layer}.hook_resid_pre", feed)])
                after[i, :, p] = vecdot(run.z[head.layer][:, p, head.head], own[:, p]) / scale[:, p]
                ln_scale[i, :, p] = self.normalize(run.resid[:, p])[1].squeeze(-1)
        effect = vecdot(z[:, :-1], own) / scale
        columns = {
            "direct_effect": effect[None],
            "direct_effect_after": after[:, None],
            "ln_scale_after": ln_scale[:, None],
        }
        return MeasuredHeads("fed", [head], columns)

    def _before_norm(self, clean: Activations, layer: int, u: Tensor) -> Tensor:
        """`u` (batch, pos - 1, d_model) seen from before the layer's clean post-norm."""
        norm = self.post_scale(self.attn_gamma[layer], clean.attn_before[layer])
        return u * norm.expand_as(clean.resid)[:, :-1]

    def bytes_per_sequence(self, positions: int) -> int:
        return self.bytes_per_row(positions)

    def bytes_per_row(self, positions: int) -> int:
        return bytes_of_pass(self.loaded, positions)

    def _ablate(
        self,
        tokens: Tensor,
        clean: Activations,
        head: Head,
        new_z: Tensor,
        details: KeptDetails | None,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The columns of one head's ablation, each (1, batch, pos - 1), and the clean S.

        new_z: what the layer's `z` is replaced by, (batch, pos, head, d_head).
        """
        layer, index = head.layer, head.head
        z, new = clean.z[layer], new_z[:, :, index]
        run = self.run(tokens, replace=(layer, index, new))
        u = self.directions[tokens[:, 1:]]
        x, scale = self.normalize(clean.resid[:, :-1])
        x_ablated, scale_ablated = self.normalize(run.resid[:, :-1])
        scale, scale_ablated = scale.squeeze(-1), scale_ablated.squeeze(-1)
        # batch pos d_head: u_t through the head's W_O, and the clean post-norm
        own = self._before_norm(clean, layer, u) @ self.W_O[layer][index].T
        effect_change = vecdot((new - z[:, :, index])[:, :-1], own) / scale
        written = vecdot((run.attn_out[layer] - clean.attn_out[layer])[:, :-1], u) / scale
        has_norm = self.attn_gamma[layer] is not None
        effect = vecdot(z[:, :-1, index], own) / scale
        from_heads, from_mlps = torch.zeros_like(scale), torch.zeros_like(scale)
        from_last_mlp = torch.zeros_like(scale)
        first_mlp = layer + 1 if self.loaded.parallel_attention else layer
        for i in range(first_mlp, self.loaded.n_layers):
            mlp_effect = vecdot((run.mlp_out[i] - clean.mlp_out[i])[:, :-1], u)
            if i > layer:
                from_heads += vecdot((run.attn_out[i] - clean.attn_out[i])[:, :-1], u) / scale
            from_last_mlp = mlp_effect / scale
            from_mlps += from_last_mlp
            if details is not None:
                if i > layer:
                    through = self._before_norm(clean, i, u)
                    heads = self.head_effects(i, (run.z[i] - clean.z[i])[:, :-1], through)
                    details.add_head_effects(heads[None])
                details.add_mlp(mlp_effect[None])
        if details is not None and first_mlp < self.loaded.n_layers and self.W_out is not None:
            post, post_ablated = clean.mlp_post[:, :-1], run.mlp_post[:, :-1]
            last = self.loaded.n_layers - 1
            norm = self.post_scale(self.mlp_gamma[last], clean.mlp_before[last])
            through = u * norm.expand_as(clean.resid)[:, :-1]
            details.add_neurons(post, (post_ablated - post)[None], through @ self.W_out.T)
        columns = {
            "direct_effect": effect,
            "direct_effect_ablated": effect + effect_change,
            "logit_change": vecdot(x_ablated, u) / scale_ablated - vecdot(x, u) / scale,
            "ln_scale_ablated": scale_ablated,
            "self_repair_from_heads": from_heads,
            "self_repair_from_mlps": from_mlps,
            "self_repair_from_last_mlp": from_last_mlp,
            "self_repair_from_post_norm": (
                written - effect_change if has_norm else torch.zeros_like(scale)
            ),
        }
        return {name: column[None] for name, column in columns.items()}, scale

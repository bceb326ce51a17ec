"""The fallback engine: one hooked forward pass per head, for whatever TransformerBridge loads.

Slow and general; `hooked_model` says what it needs of a model. A line-by-line reading of the
definitions, where `perturbation` is a fast one of the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from selfrepair_assets.measurement.engine.clean_run import CleanFacts, dot
from selfrepair_assets.measurement.engine.kept_details import KeptDetails, KeptRows
from selfrepair_assets.measurement.engine.perturbation import AblatedHeads, join
from selfrepair_assets.measurement.engine.self_reinforcement import ReinforcedHeads
from selfrepair_assets.measurement.heads import Head, by_layer
from selfrepair_assets.measurement.model.hooked_model import Activations, HookedModel


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
        heads = [self.head_effects(layer, run.z[layer][:, :-1], u) for layer in layers]
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
        kept: KeptRows | None = None,
        all_neurons: bool = False,
    ) -> Iterator[AblatedHeads]:
        """As `perturbation.ablate_heads`; always fp32, one head after another."""
        clean = self.run(tokens)
        partners = self.run(partner_tokens) if partner_tokens is not None else None
        for ablation in ablations:
            for layer, of_layer in by_layer(heads).items():
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
                parts = [
                    self._ablate(tokens, clean, ablation, head, replacement, kept, all_neurons)
                    for head in of_layer
                ]
                yield join(parts, of_layer)

    @torch.inference_mode()
    def reinforce_heads(
        self, tokens: Tensor, heads: Sequence[Head], scales: Sequence[float], rows_at_once: int
    ) -> Iterator[ReinforcedHeads]:
        """As `self_reinforcement.reinforce_heads`: here really one run per position."""
        clean = self.run(tokens)
        for _, of_layer in by_layer(heads).items():
            parts = [self._reinforce(tokens, clean, head, scales) for head in of_layer]
            yield ReinforcedHeads(
                of_layer,
                torch.stack([part[0] for part in parts]),
                torch.stack([part[1] for part in parts], 1),
                torch.stack([part[2] for part in parts], 1),
            )

    def _reinforce(
        self, tokens: Tensor, clean: Activations, head: Head, scales: Sequence[float]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Direct effect (batch, pos), and after and ln_scale after, (scale, batch, pos)."""
        W_O = self.W_O[head.layer][head.head]
        z = clean.z[head.layer][:, :, head.head]
        u = self.directions[tokens[:, 1:]]
        own = u @ W_O.T
        _, scale = self.normalize(clean.resid[:, :-1])
        scale = scale.squeeze(-1)
        after = torch.zeros(len(scales), *scale.shape, device=scale.device)
        ln_scale = torch.zeros_like(after)
        for i, factor in enumerate(scales):
            for p in range(tokens.shape[1] - 1):
                add = factor * z[:, p] @ W_O

                def feed(resid: Tensor, hook: Any, p: int = p, add: Tensor = add) -> Tensor:
                    resid = resid.clone()
                    resid[:, p] += add
                    return resid

                run = self.run(tokens, feed=[(f"blocks.{head.layer}.hook_resid_pre", feed)])
                after[i, :, p] = dot(run.z[head.layer][:, p, head.head], own[:, p]) / scale[:, p]
                ln_scale[i, :, p] = self.normalize(run.resid[:, p])[1].squeeze(-1)
        return dot(z[:, :-1], own) / scale, after, ln_scale

    def bytes_per_sequence(self, positions: int) -> int:
        return self.bytes_per_row(positions)

    def bytes_per_row(self, positions: int) -> int:
        m = self.loaded
        per_layer = 3 * m.d_model + m.d_mlp + m.n_heads * positions
        return 4 * positions * (m.n_layers * per_layer + 3 * m.d_vocab)

    def _ablate(
        self,
        tokens: Tensor,
        clean: Activations,
        ablation: str,
        head: Head,
        replacement: Tensor,
        kept: KeptRows | None,
        all_neurons: bool,
    ) -> AblatedHeads:
        layer, index = head.layer, head.head
        z = clean.z[layer]
        new = replacement.expand_as(z)[:, :, index]
        run = self.run(tokens, replace=(layer, index, new))
        u = self.directions[tokens[:, 1:]]
        x, scale = self.normalize(clean.resid[:, :-1])
        x_ablated, scale_ablated = self.normalize(run.resid[:, :-1])
        scale, scale_ablated = scale.squeeze(-1), scale_ablated.squeeze(-1)
        own = u @ self.W_O[layer][index].T  # batch pos d_head: u_t through the head's W_O
        effect = dot(z[:, :-1, index], own) / scale
        rows = KeptRows.none() if kept is None else kept.of(layer, [index])
        details = KeptDetails.of(rows, [index], tokens.device, all_neurons)
        from_heads, from_mlps = torch.zeros_like(scale), torch.zeros_like(scale)
        from_last_mlp = torch.zeros_like(scale)
        first_mlp = layer + 1 if self.loaded.parallel_attention else layer
        for i in range(first_mlp, self.loaded.n_layers):
            mlp_effect = dot((run.mlp_out[i] - clean.mlp_out[i])[:, :-1], u)
            heads = self.head_effects(i, (run.z[i] - clean.z[i])[:, :-1], u)
            if i > layer:
                from_heads += dot((run.attn_out[i] - clean.attn_out[i])[:, :-1], u) / scale
            from_last_mlp = mlp_effect / scale
            from_mlps += from_last_mlp
            details.add_effects(heads[None] if i > layer else None, mlp_effect[None])
        if first_mlp < self.loaded.n_layers and self.W_out is not None:
            through = (u @ self.W_out.T)[None]  # u_t through the last W_out
            post, post_ablated = (r.mlp_post[:, :-1][None] for r in (clean, run))
            details.add_neurons(post * through, (post_ablated - post) * through)
        columns = {
            "direct_effect": effect,
            "direct_effect_ablated": effect + dot((new - z[:, :, index])[:, :-1], own) / scale,
            "logit_change": dot(x_ablated, u) / scale_ablated - dot(x, u) / scale,
            "ln_scale_ablated": scale_ablated,
            "self_repair_from_heads": from_heads,
            "self_repair_from_mlps": from_mlps,
            "self_repair_from_last_mlp": from_last_mlp,
        }
        columns = {name: column[None] for name, column in columns.items()}
        if kept is None:
            return AblatedHeads(ablation, [head], columns)
        of_rows = details.columns(scale, columns["direct_effect"])
        return AblatedHeads(ablation, [head], columns, rows, of_rows)

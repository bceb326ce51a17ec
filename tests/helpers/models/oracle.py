"""The slow, obvious way to every number of the specification.

Every other way of measuring is held against this file, so it shares nothing with them: no
TransformerLens, no folded weights, no batching of heads, no propagation of changes, and float64
throughout. It follows the definitions one by one: run the transformers model as it is; run it
again, whole, with one head's ``z`` replaced at every position; subtract. ``oracle_run.py`` runs the
model and says what ``z`` is.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.helpers.models.oracle_run import HookedModel, Run


@dataclass
class CleanFacts:
    """The clean run's facts; all float64."""

    logit: Tensor  # batch pos-1
    logit_bias: Tensor  # batch pos-1
    ln_scale: Tensor  # batch pos-1
    head_effects: Tensor  # layer head batch pos-1
    mlp_effects: Tensor  # layer batch pos-1


@dataclass
class ComponentChanges:
    """Ablated minus clean direct effect of every component, upstream ones (zeros) included."""

    heads: Tensor  # layer head batch pos-1
    mlps: Tensor  # layer batch pos-1


class Oracle:
    """Sections 1 and 2 of the specification for one model.

    Args:
        model: a transformers causal model, see ``HookedModel``; turned to float64 in place.
        center_unembed: whether logits and directions are taken relative to the vocabulary's mean.

    All results are float64. ``[batch pos-1]`` ones leave out the last position: it has no target.
    """

    def __init__(self, model: PreTrainedModel, center_unembed: bool = True) -> None:
        self.hooked = HookedModel(model)
        self.run = self.hooked.run
        self.n_layers, self.n_heads = self.hooked.n_layers, self.hooked.n_heads
        self.layers, self.heads = range(self.n_layers), range(self.n_heads)
        self.center_unembed = center_unembed
        self.final_norm = self.hooked.final_norm

    # -- the direction -----------------------------------------------------------------------------

    @cached_property
    def _unembedding(self) -> tuple[Tensor, Tensor]:
        """``W_U`` as [d_vocab d_model] and ``b_U`` [d_vocab], with a constant scale of the logits,
        relative to the vocabulary's mean if ``center_unembed``."""
        head = cast(Any, self.hooked.model.get_output_embeddings())
        w_u = head.weight.detach() * self.hooked.logit_scale
        bias = getattr(head, "bias", None)
        b_u = w_u.new_zeros(len(w_u)) if bias is None else bias.detach() * self.hooked.logit_scale
        if self.center_unembed:
            return w_u - w_u.mean(0), b_u - b_u.mean()
        return w_u, b_u

    def unembedding_direction(self, tokens: Tensor) -> Tensor:
        """[batch pos-1 d_model]: ``gamma * W_U[:, t]``, for LayerNorm also centred over d_model
        (the norm subtracts its input's mean, which is the same as centring the direction)."""
        direction = self._unembedding[0][tokens[:, 1:]] * self.final_norm.weight
        if self.final_norm.centres:
            direction = direction - direction.mean(-1, keepdim=True)
        return direction

    def logit_bias(self, tokens: Tensor) -> Tensor:
        """[batch pos-1]: ``W_U[:, t] . beta + b_U[t]``."""
        w_u, b_u = self._unembedding
        beta = self.final_norm.bias
        per_token = b_u if beta is None else w_u @ beta + b_u
        return per_token[tokens[:, 1:]]

    # -- what is read off a run --------------------------------------------------------------------

    def ln_scale(self, run: Run) -> Tensor:
        """[batch pos-1]: the final norm's divisor."""
        return self.final_norm.scale(run.resid_final[:, :-1]).squeeze(-1)

    def logit(self, run: Run, tokens: Tensor) -> Tensor:
        """[batch pos-1]: the target's logit, out of the model's own logits."""
        logits = run.logits
        if self.center_unembed:
            logits = logits - logits.mean(-1, keepdim=True)
        return logits[:, :-1].gather(-1, tokens[:, 1:, None]).squeeze(-1)

    def direct_effect(self, out: Tensor, clean: Run, tokens: Tensor) -> Tensor:
        """[batch pos-1]: ``(out . u_t) / S`` with the clean ``S``; ``out`` [batch pos d_model]."""
        dot = (out[:, :-1] * self.unembedding_direction(tokens)).sum(-1)
        return dot / self.ln_scale(clean)

    def head_out(self, run: Run, layer: int, head: int, clean: Run) -> Tensor:
        """[batch pos d_model]: a head's slice of ``z`` through its slice of ``W_O``, and through
        the *clean* post-norm where the layer has one."""
        out = run.z[layer][:, :, head] @ self.hooked.w_o[layer][head]
        norm = self.hooked.attention_post_norms[layer]
        return out if norm is None else norm.weight * out / clean.attention_post_scale[layer]

    def head_effect(self, run: Run, layer: int, head: int, clean: Run, tokens: Tensor) -> Tensor:
        """[batch pos-1]: a head's direct effect in ``run``."""
        return self.direct_effect(self.head_out(run, layer, head, clean), clean, tokens)

    def head_effects(self, run: Run, clean: Run, tokens: Tensor) -> Tensor:
        """[layer head batch pos-1]."""
        return torch.stack(
            [
                torch.stack(
                    [self.head_effect(run, layer, head, clean, tokens) for head in self.heads]
                )
                for layer in self.layers
            ]
        )

    def mlp_effects(self, run: Run, clean: Run, tokens: Tensor) -> Tensor:
        """[layer batch pos-1]; with the MLP's output bias."""
        return torch.stack([self.direct_effect(out, clean, tokens) for out in run.mlp_out])

    def neuron_effects(self, run: Run, clean: Run, tokens: Tensor) -> Tensor:
        """[batch pos-1 d_mlp]: ``act_n * (W_out[n] . u_t) / S`` for the last MLP's neurons, each
        through the clean post-norm where there is one."""
        direction = self.unembedding_direction(tokens)
        norm = self.hooked.mlp_post_norms[-1]
        if norm is not None:
            direction = direction * norm.weight / clean.mlp_post_scale[-1][:, :-1]
        dots = direction @ self.hooked.w_out.T
        return run.neurons[:, :-1] * dots / self.ln_scale(clean)[..., None]

    # -- the measurements --------------------------------------------------------------------------

    def clean(self, tokens: Tensor) -> CleanFacts:
        """The clean run's facts for tokens [batch pos]."""
        run = self.run(tokens)
        return CleanFacts(
            logit=self.logit(run, tokens),
            logit_bias=self.logit_bias(tokens),
            ln_scale=self.ln_scale(run),
            head_effects=self.head_effects(run, run, tokens),
            mlp_effects=self.mlp_effects(run, run, tokens),
        )

    def mean_z(self, tokens: Tensor) -> Tensor:
        """[layer head d_head]: the mean over all sequences and all positions, the last included."""
        return torch.stack([z.mean((0, 1)) for z in self.run(tokens).z])

    def ablated_run(
        self,
        tokens: Tensor,
        ablation: str,
        layer: int,
        head: int,
        *,
        partner_tokens: Tensor | None = None,
        mean_z: Tensor | None = None,
    ) -> Run:
        """The model with one head's ``z`` replaced at every position (section 2).

        Args:
            partner_tokens: [batch pos], for ``resample``: where the other ``z`` comes from.
            mean_z: [layer head d_head], for ``mean``: over all of the run's tokens.
        """
        if ablation == "resample":
            assert partner_tokens is not None
            z = self.run(partner_tokens).z[layer][:, :, head]
        elif ablation == "mean":
            assert mean_z is not None
            z = mean_z[layer, head]
        else:
            assert ablation == "zero"
            z = torch.zeros((), dtype=torch.float64)
        return self.run(tokens, replace=(layer, head, z))

    def ablate(
        self, tokens: Tensor, ablation: str, layer: int, head: int, **other: Tensor | None
    ) -> dict[str, Tensor]:
        """Every column of ``head_ablations`` for one head, each [batch pos-1], and two more
        (other: as of ``ablated_run``):

        ``self_repair_from_layernorm``: what is left of self-repair, eq. (2);
        ``self_repair_from_layernorm_measured``: ``(x_ablated . u_t) * (1/S_ablated - 1/S)``.
        """
        clean = self.run(tokens)
        ablated = self.ablated_run(tokens, ablation, layer, head, **other)
        attention = [
            self.direct_effect(now - before, clean, tokens)
            for now, before in zip(ablated.attention_out, clean.attention_out, strict=True)
        ]
        mlps = self.changes(ablated, clean, tokens).mlps
        from_heads = sum(attention[layer + 1 :], torch.zeros_like(attention[0]))
        from_mlps = mlps.sum(0)

        before = self.head_effect(clean, layer, head, clean, tokens)
        after = self.head_effect(ablated, layer, head, clean, tokens)
        from_post_norm = attention[layer] - (after - before)
        parts = from_heads + from_mlps + from_post_norm
        logit_change = self.logit(ablated, tokens) - self.logit(clean, tokens)
        scale, scale_ablated = self.ln_scale(clean), self.ln_scale(ablated)
        x_dot_u = (ablated.resid_final[:, :-1] * self.unembedding_direction(tokens)).sum(-1)
        return {
            "direct_effect": before,
            "direct_effect_ablated": after,
            "logit_change": logit_change,
            "ln_scale_ablated": scale_ablated,
            "self_repair_from_heads": from_heads,
            "self_repair_from_mlps": from_mlps,
            "self_repair_from_last_mlp": mlps[-1],
            "self_repair_from_post_norm": from_post_norm,
            "self_repair_from_layernorm": logit_change - (after - before) - parts,
            "self_repair_from_layernorm_measured": x_dot_u * (1 / scale_ablated - 1 / scale),
        }

    def changes(self, ablated: Run, clean: Run, tokens: Tensor) -> ComponentChanges:
        """Who repairs whom: the change in direct effect of every head and MLP layer."""
        return ComponentChanges(
            heads=self.head_effects(ablated, clean, tokens)
            - self.head_effects(clean, clean, tokens),
            mlps=self.mlp_effects(ablated, clean, tokens) - self.mlp_effects(clean, clean, tokens),
        )

    def reinforce(self, tokens: Tensor, layer: int, head: int, scale: float) -> dict[str, Tensor]:
        """Self-reinforcement (section 5.3 of the paper), one run of the model per position.

        At each position in turn, ``scale`` times the head's own output there is added to the
        residual stream that enters its layer there; the head's new direct effect at that position
        is taken with the clean ``S``, and the final norm's new divisor at that position is kept.

        Returns:
            ``direct_effect``, ``direct_effect_after``, ``ln_scale_after``, each [batch pos-1].
        """
        clean = self.run(tokens)
        out = self.head_out(clean, layer, head, clean)
        effects, scales = [], []
        for position in range(tokens.shape[1] - 1):
            run = self.run(tokens, add=(layer, position, scale * out[:, position]))
            effects.append(self.head_effect(run, layer, head, clean, tokens)[:, position])
            scales.append(self.ln_scale(run)[:, position])
        return {
            "direct_effect": self.head_effect(clean, layer, head, clean, tokens),
            "direct_effect_after": torch.stack(effects, dim=1),
            "ln_scale_after": torch.stack(scales, dim=1),
        }

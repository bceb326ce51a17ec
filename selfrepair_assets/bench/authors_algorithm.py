"""The authors' way of measuring head ablations, written anew: what the engine is timed against.

It is the algorithm that is kept, not their lines. Per batch of sequences:

1. Run the model with every activation cached, and take from the cache the direct effect of every
   head and of every MLP layer.
2. For each head by itself:
   a. run the corrupted sequences with a cache, then the clean ones with the head's ``z`` replaced
      and every activation cached: all direct effects of the ablated run, scaled by the clean norm;
   b. run the corrupted sequences with a cache again, then the clean ones with the head's ``z``
      replaced: the logits, over the whole vocabulary.

That is four runs of the whole model for a head, though only the target's logit is wanted and
nothing before the head's layer changes. Where their code leaves room, the faster reading is taken:
``z W_O`` of all heads is computed here from the cached ``z`` (their ``use_attn_result`` makes it
part of each of the three cached runs), and no gradient is kept.

The numbers are the specification's; their breakdown has the resample ablation only.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfrepair_assets.measurement.heads import Head


@dataclass
class Effects:
    """Direct effects in one run, with the clean run's norm."""

    heads: Tensor  # layer head batch pos-1
    mlps: Tensor  # layer batch pos-1


class AuthorsAlgorithm:
    """Measures resample ablations with hooks on a ``TransformerBridge`` in compatibility mode."""

    def __init__(self, bridge: Any) -> None:
        if not bridge.compatibility_mode:
            bridge.enable_compatibility_mode(disable_warnings=True)
        self.bridge = bridge
        self.n_layers: int = bridge.cfg.n_layers

    def effects(self, cache: Any, clean_cache: Any, tokens: Tensor) -> Effects:
        """Every head's and MLP layer's direct effect on the target's logit.

        Args:
            cache: the activations whose effects are wanted.
            clean_cache: the activations that hold the final norm's divisor.
        """
        scale = clean_cache["ln_final.hook_scale"][:, :-1]  # batch pos-1 1
        direction = self.bridge.W_U.T[tokens[:, 1:]] / scale
        heads, mlps = [], []
        for layer in range(self.n_layers):
            z = cache[f"blocks.{layer}.attn.hook_z"][:, :-1]
            w_o = self.bridge.blocks[layer].attn.W_O  # head d_head d_model
            z = z.reshape(*z.shape[:2], *w_o.shape[:2])  # some families keep heads side by side
            out = torch.einsum("bphe,hed->hbpd", z, w_o)
            heads.append((out * direction).sum(-1))
            mlp_out = cache[f"blocks.{layer}.hook_mlp_out"][:, :-1]
            mlps.append((mlp_out * direction).sum(-1))
        return Effects(torch.stack(heads), torch.stack(mlps))

    def target_logit(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """[batch pos-1]."""
        return logits[:, :-1].gather(-1, tokens[:, 1:, None]).squeeze(-1)

    def _replace(self, head: Head, corrupted_cache: Any) -> tuple[str, Any]:
        name = f"blocks.{head.layer}.attn.hook_z"
        n_heads = self.bridge.cfg.n_heads

        def patch(z: Tensor, hook: Any) -> Tensor:
            patched = z.clone().unflatten(-1, (n_heads, -1)) if z.ndim == 3 else z.clone()
            patched[:, :, head.head] = corrupted_cache[name].view(patched.shape)[:, :, head.head]
            return patched.view(z.shape)

        return name, patch

    @torch.no_grad()
    def start(self, clean_tokens: Tensor, corrupted_tokens: Tensor) -> None:
        """Step 1, once a batch; both [batch pos]."""
        self.clean_tokens, self.corrupted_tokens = clean_tokens, corrupted_tokens
        logits, self.clean_cache = self.bridge.run_with_cache(clean_tokens)
        self.clean = self.effects(self.clean_cache, self.clean_cache, clean_tokens)
        self.clean_logit = self.target_logit(logits, clean_tokens)

    @torch.no_grad()
    def ablate(self, head: Head) -> dict[str, Tensor]:
        """Step 2: columns of ``head_ablations`` by their names, each [batch pos-1]."""
        bridge, tokens, clean = self.bridge, self.clean_tokens, self.clean
        _, corrupted_cache = bridge.run_with_cache(self.corrupted_tokens, return_type=None)
        with bridge.hooks(fwd_hooks=[self._replace(head, corrupted_cache)]):
            _, ablated_cache = bridge.run_with_cache(tokens, return_type=None)
        ablated = self.effects(ablated_cache, self.clean_cache, tokens)

        _, corrupted_cache = bridge.run_with_cache(self.corrupted_tokens, return_type=None)
        logits = bridge.run_with_hooks(tokens, fwd_hooks=[self._replace(head, corrupted_cache)])

        before = clean.heads[head.layer, head.head]
        after = ablated.heads[head.layer, head.head]
        return {
            "direct_effect": before,
            "direct_effect_ablated": after,
            "logit_change": self.target_logit(logits, tokens) - self.clean_logit,
            "self_repair_from_heads": (ablated.heads - clean.heads).sum((0, 1)) - (after - before),
            "self_repair_from_mlps": (ablated.mlps - clean.mlps).sum(0),
        }

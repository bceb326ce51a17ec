"""The oracle against what must hold whatever the model, and against forwards done by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.models.families import (
    ALL,
    BOS,
    FAMILIES,
    POST_NORM,
    WINDOW,
    random_model,
    random_tokens,
)
from tests.helpers.models.oracle import Oracle

PARALLEL = (
    *("gpt_neox", "gptj", "phi", "stablelm_parallel", "cohere", "cohere_qk_norm"),
    *("falcon", "falcon_grouped"),
)
FINAL_CAP = {"gemma2": 5.0}
ABLATIONS = ("resample", "mean", "zero")

tokens = random_tokens(3, 12)
partner_tokens = tokens.roll(1, 0)


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-10)


@pytest.fixture(scope="module", params=list(ALL))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def oracle(name: str) -> Oracle:
    return Oracle(random_model(name))


def ablate(oracle: Oracle, ablation: str, layer: int, head: int) -> dict[str, Tensor]:
    mean_z = oracle.mean_z(tokens)
    return oracle.ablate(
        tokens, ablation, layer, head, partner_tokens=partner_tokens, mean_z=mean_z
    )


def test_logits_are_those_of_the_model_as_it_was_loaded(name: str, oracle: Oracle) -> None:
    with torch.no_grad():
        logits = random_model(name)(tokens).logits
    logits_before_cap = oracle.run(tokens).logits
    if name in FINAL_CAP:
        logits = FINAL_CAP[name] * (logits / FINAL_CAP[name]).atanh()
    torch.testing.assert_close(logits_before_cap.float(), logits, rtol=0, atol=2e-4)
    target = logits[:, :-1].gather(-1, tokens[:, 1:, None]).squeeze(-1)
    expected = target - logits[:, :-1].mean(-1)
    torch.testing.assert_close(oracle.clean(tokens).logit.float(), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize("center_unembed", [True, False])
def test_parts_sum_to_the_logit(name: str, center_unembed: bool) -> None:
    """Embedding, heads, attention biases and MLPs are all that is in the residual stream."""
    oracle = Oracle(random_model(name), center_unembed)
    run, clean = oracle.run(tokens), oracle.clean(tokens)
    embedding = run.resid_final - sum(run.attention_out) - sum(run.mlp_out)
    biases = torch.zeros(())
    for layer in oracle.layers:
        heads = sum(oracle.head_out(run, layer, head, run) for head in oracle.heads)
        bias = run.attention_out[layer] - heads
        # What is not the heads' is b_O with the value biases in it: the same at every position,
        # but for what a post-norm makes of it.
        before_norm = bias * run.attention_post_scale[layer]
        assert_same(before_norm, before_norm[:1, :1].expand_as(bias))
        biases = biases + oracle.direct_effect(bias, run, tokens)
    parts = clean.head_effects.sum((0, 1)) + clean.mlp_effects.sum(0) + biases
    parts = parts + oracle.direct_effect(embedding, run, tokens) + clean.logit_bias
    assert_same(parts, clean.logit)


def test_embedding_is_what_is_left_of_the_residual_stream() -> None:
    """GPT-2 by hand: the stream's end less all that attention and MLPs added is W_E + W_pos."""
    oracle = Oracle(random_model("gpt2"))
    run = oracle.run(tokens)
    embedding = run.resid_final - sum(run.attention_out) - sum(run.mlp_out)
    transformer = oracle.hooked.model.transformer
    by_hand = transformer.wte.weight[tokens] + transformer.wpe.weight[: tokens.shape[1]]
    assert_same(embedding, by_hand.detach())


def test_replacing_a_head_by_its_own_output_changes_nothing(oracle: Oracle) -> None:
    columns = oracle.ablate(tokens, "resample", 1, 2, partner_tokens=tokens)
    zero = torch.zeros_like(columns["logit_change"])
    for column in columns:
        if "self_repair" in column or column == "logit_change":
            assert_same(columns[column], zero)
    assert_same(columns["direct_effect_ablated"], columns["direct_effect"])
    assert_same(columns["ln_scale_ablated"], oracle.clean(tokens).ln_scale)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_both_ways_to_the_layernorm_part_agree(oracle: Oracle, ablation: str) -> None:
    """Eq. (2), and the identity that the warehouse checks on every row."""
    clean = oracle.clean(tokens)
    for layer in oracle.layers:
        columns = ablate(oracle, ablation, layer, layer % oracle.n_heads)
        assert_same(
            columns["self_repair_from_layernorm"], columns["self_repair_from_layernorm_measured"]
        )
        effect_change = columns["direct_effect_ablated"] - columns["direct_effect"]
        repair = columns["self_repair_from_heads"] + columns["self_repair_from_mlps"]
        repair = repair + columns["self_repair_from_post_norm"]
        assert_same(
            clean.logit + columns["logit_change"] - clean.logit_bias,
            clean.ln_scale
            / columns["ln_scale_ablated"]
            * (clean.logit - clean.logit_bias + effect_change + repair),
        )


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_ablations_are_large_enough_to_tell_right_from_wrong(oracle: Oracle, ablation: str) -> None:
    for layer in oracle.layers:
        columns = ablate(oracle, ablation, layer, 3)
        assert 0.02 < columns["logit_change"].std() < 2
        if layer < oracle.n_layers - 1:
            assert columns["self_repair_from_heads"].abs().max() > 0.01
            assert columns["self_repair_from_last_mlp"].abs().max() > 0.01


def test_only_what_is_downstream_changes(name: str, oracle: Oracle) -> None:
    layer, head = 1, 2
    clean = oracle.run(tokens)
    ablated = oracle.ablated_run(tokens, "zero", layer, head)
    changes = oracle.changes(ablated, clean, tokens)
    changed = changes.heads.abs().amax((2, 3)) > 1e-12
    expected = torch.zeros(oracle.n_layers, oracle.n_heads, dtype=torch.bool)
    expected[layer, head] = True
    expected[layer + 1 :] = True
    assert torch.equal(changed, expected)
    first_mlp = layer + 1 if name in PARALLEL else layer
    assert (changes.mlps.abs().amax((1, 2)) > 1e-12).tolist() == [
        mlp >= first_mlp for mlp in oracle.layers
    ]


@pytest.mark.parametrize("parallel", PARALLEL)
def test_last_layer_of_a_parallel_model_repairs_by_the_norm_alone(parallel: str) -> None:
    """Appendix B, eq. (3)."""
    oracle = Oracle(random_model(parallel))
    clean = oracle.clean(tokens)
    columns = ablate(oracle, "resample", oracle.n_layers - 1, 1)
    assert columns["self_repair_from_heads"].abs().max() == 0
    assert columns["self_repair_from_mlps"].abs().max() == 0
    ratio = clean.ln_scale / columns["ln_scale_ablated"]
    effect_change = columns["direct_effect_ablated"] - columns["direct_effect"]
    expected = (ratio - 1) * (clean.logit - clean.logit_bias) + ratio * effect_change
    assert_same(columns["logit_change"], expected)


def test_zero_ablation_is_the_projection_without_the_heads_rows() -> None:
    """Zero means zero in the folded z: the head's rows of c_proj go, its value bias stays."""
    oracle = Oracle(random_model("gpt2"))
    layer, head, d_head = 1, 2, 8
    rows = slice(head * d_head, (head + 1) * d_head)
    edited = random_model("gpt2").double()
    block: Any = edited.get_submodule(f"transformer.h.{layer}")
    d_model = block.attn.c_proj.weight.shape[0]
    w_v = block.attn.c_attn.weight.data[:, 2 * d_model :][:, rows]
    b_v = block.attn.c_attn.bias.data[2 * d_model :][rows]
    value_bias = block.ln_1.bias.data @ w_v + b_v
    block.attn.c_proj.bias.data += value_bias @ block.attn.c_proj.weight.data[rows]
    block.attn.c_proj.weight.data[rows] = 0
    with torch.no_grad():
        logits = edited(tokens).logits
    ablated = oracle.ablated_run(tokens, "zero", layer, head)
    assert_same(ablated.logits, logits)


def test_resample_takes_the_same_heads_z_of_the_partner() -> None:
    oracle = Oracle(random_model("qwen2"))
    ablated = oracle.ablated_run(tokens, "resample", 0, 3, partner_tokens=partner_tokens)
    clean, partner = oracle.run(tokens), oracle.run(partner_tokens)
    assert_same(ablated.z[0][:, :, 3], partner.z[0][:, :, 3])
    assert_same(ablated.z[0][:, :, :3], clean.z[0][:, :, :3])


def test_mean_is_over_sequences_and_positions_the_last_included() -> None:
    oracle = Oracle(random_model("opt"))
    z = oracle.run(tokens).z[2]
    by_hand = torch.stack([z[i, p] for i in range(3) for p in range(12)]).sum(0) / 36
    assert_same(oracle.mean_z(tokens)[2], by_hand)


def test_the_first_position_is_not_changed_by_resampling_where_all_begin_with_bos(
    oracle: Oracle,
) -> None:
    with_bos = random_tokens(2, 8, bos=True)
    assert (with_bos[:, 0] == BOS).all()
    columns = oracle.ablate(with_bos, "resample", 1, 0, partner_tokens=with_bos.flip(0))
    assert columns["logit_change"][:, 0].abs().max() < 1e-12
    assert columns["logit_change"][:, 1:].abs().max() > 1e-3


@pytest.mark.parametrize("family", POST_NORM)
def test_post_norm_part_is_what_its_scale_gives_back(family: str) -> None:
    """By hand: `o'` is what enters the norm, `gamma o' (1/S_post' - 1/S_post)` what it adds."""
    oracle = Oracle(random_model(family))
    layer, head = 1, 2
    columns = ablate(oracle, "zero", layer, head)
    clean = oracle.run(tokens)
    ablated = oracle.ablated_run(tokens, "zero", layer, head)
    scale, scale_ablated = (run.attention_post_scale[layer] for run in (clean, ablated))
    # attention_out is gamma o' / S_post': with the clean scale it would be that of the heads alone.
    rescaled = ablated.attention_out[layer] * (1 - scale_ablated / scale)
    by_hand = oracle.direct_effect(rescaled, clean, tokens)
    assert_same(columns["self_repair_from_post_norm"], by_hand)
    assert by_hand.abs().max() > 0.01


def test_a_model_without_post_norm_has_no_such_part(name: str, oracle: Oracle) -> None:
    columns = ablate(oracle, "resample", 1, 0)
    has_some = bool((columns["self_repair_from_post_norm"].abs() > 1e-12).any())
    assert has_some == (name in POST_NORM)


def test_neurons_sum_to_their_layer(oracle: Oracle) -> None:
    run = oracle.run(tokens)
    b_out = getattr(oracle.hooked.parts("mlp_out")[-1], "bias", None)
    neurons = oracle.neuron_effects(run, run, tokens).sum(-1)
    if b_out is not None:
        bias = b_out.detach().expand(*tokens.shape, -1)  # no model has one before a post-norm
        neurons = neurons + oracle.direct_effect(bias, run, tokens)
    assert_same(neurons, oracle.mlp_effects(run, run, tokens)[-1])


@pytest.mark.parametrize("family", FAMILIES)
def test_reinforcing_by_nothing_changes_nothing_and_by_something_does(family: str) -> None:
    oracle = Oracle(random_model(family))
    by_nothing = oracle.reinforce(tokens, 1, 1, 0.0)
    assert_same(by_nothing["direct_effect_after"], by_nothing["direct_effect"])
    assert_same(by_nothing["ln_scale_after"], oracle.clean(tokens).ln_scale)
    by_three = oracle.reinforce(tokens, 1, 1, 3.0)
    change = by_three["direct_effect_after"] - by_three["direct_effect"]
    assert change.abs().max() > 1e-3


def test_reinforcement_at_one_position_leaves_the_others_keys_and_values_clean() -> None:
    """By hand at position 2 of a sequence: the stream entering layer 1 gets 3 x the head there."""
    oracle = Oracle(random_model("llama"))
    clean = oracle.run(tokens)
    out = oracle.head_out(clean, 1, 1, clean)[:, 2]
    run = oracle.run(tokens, add=(1, 2, 3 * out))
    after = oracle.head_out(run, 1, 1, clean)[:, 2]
    direction = oracle.unembedding_direction(tokens)[:, 2]
    by_hand = (after * direction).sum(-1) / oracle.ln_scale(clean)[:, 2]
    measured = oracle.reinforce(tokens, 1, 1, 3.0)["direct_effect_after"][:, 2]
    assert_same(measured, by_hand)
    assert_same(run.z[1][:, :2], clean.z[1][:, :2])


@pytest.mark.parametrize(
    ("windowed", "without"),
    [("mistral", "mistral_without_window"), ("qwen2_window_in_upper_layers", "qwen2")],
)
def test_the_window_cuts_and_only_beyond_its_length(windowed: str, without: str) -> None:
    """Else no comparison with the oracle would notice an engine that knows of no window."""
    seen = Oracle(random_model(windowed)).run(tokens).logits
    unseen = Oracle(random_model(without)).run(tokens).logits
    assert_same(seen[:, :WINDOW], unseen[:, :WINDOW])
    assert (seen[:, WINDOW:] - unseen[:, WINDOW:]).abs().amax((0, 2)).min() > 1e-2

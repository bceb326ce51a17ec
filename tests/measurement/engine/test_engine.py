"""Both engines against the oracle, for every family, ablation and column."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from selfrepair_assets.measurement.ablations import ABLATIONS
from selfrepair_assets.measurement.engine.hooked import HookedEngine
from selfrepair_assets.measurement.engine.interface import AblationRequest
from selfrepair_assets.measurement.engine.measure import Measurer
from selfrepair_assets.measurement.engine.results import CleanFacts
from selfrepair_assets.measurement.errors import EngineMismatchError, InputError
from selfrepair_assets.measurement.heads import Head
from tests.helpers.models.engine_truth import (
    NOT_WRAPPED,
    PERTURBATION,
    ablate,
    assert_clean_facts,
    assert_equal,
    columns_of,
    loaded,
    spec_of,
    truth,
)
from tests.helpers.models.families import (
    ALL,
    EXPERTS,
    FALLBACK_ONLY,
    FAMILIES,
    POST_NORM,
    random_tokens,
)


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        *((name, "perturbation") for name in PERTURBATION),
        *((name, "hooked") for name in (*FALLBACK_ONLY, *EXPERTS)),
    ],
)
def test_the_engine_of_a_model_equals_the_oracle(name: str, engine: str) -> None:
    """What the perturbation engine does not know is measured with hooks."""
    measurer = Measurer(loaded(name), spec_of())
    assert measurer.engine == engine
    assert_clean_facts(measurer, truth(name))
    measured = ablate(measurer, truth(name))
    assert_equal(measured, truth(name).columns)
    if engine == "perturbation":
        clean = measurer.clean(truth(name).tokens)
        for columns in measured.values():
            assert_identity(clean, columns)
            part = columns["self_repair_from_post_norm"]
            assert bool((part != 0).any()) == (name in POST_NORM), "there where the model has one"


def assert_identity(clean: CleanFacts, columns: dict[str, torch.Tensor]) -> None:
    """logit + logit_change - bias = S/S' (logit - bias + change of effect + repair)."""
    without_bias = clean.logit - clean.logit_bias
    effect_change = columns["direct_effect_ablated"] - columns["direct_effect"]
    repair = columns["self_repair_from_heads"] + columns["self_repair_from_mlps"]
    repair = repair + columns["self_repair_from_post_norm"]
    torch.testing.assert_close(
        without_bias + columns["logit_change"],
        clean.ln_scale / columns["ln_scale_ablated"] * (without_bias + effect_change + repair),
        rtol=0,
        atol=3e-5,
    )


@pytest.mark.parametrize("name", PERTURBATION)
def test_hooked_engine_equals_the_oracle_on_the_others_too(name: str) -> None:
    """Or it refuses, and says why."""
    if name in NOT_WRAPPED:
        with pytest.raises(InputError, match=NOT_WRAPPED[name]):
            Measurer(loaded(name, hooked=True), spec_of())
        return
    measurer = Measurer(loaded(name, hooked=True), spec_of())
    assert measurer.engine == "hooked"
    measurer.check_engine(truth(name).tokens)
    assert_clean_facts(measurer, truth(name))
    assert_equal(ablate(measurer, truth(name)), truth(name).columns)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "qwen2", "phi", "gemma2", "cohere"])
def test_uncentred_unembedding(name: str) -> None:
    measurer = Measurer(loaded(name, center_unembed=False), spec_of(center_unembed=False))
    expected = truth(name, center_unembed=False)
    assert_clean_facts(measurer, expected)
    assert_equal(ablate(measurer, expected), expected.columns)
    centred, uncentred = truth(name).clean.logit, expected.clean.logit
    assert (centred - uncentred).abs().max() > 1e-2  # the setting is one that matters here


@pytest.mark.parametrize("name", [*FAMILIES, "olmo2", "mpt", "nemotron"])
def test_sequences_of_two_tokens(name: str) -> None:
    expected = truth(name, length=2)
    measurer = Measurer(loaded(name), spec_of(tokens=6, sequence_length=2))
    assert_clean_facts(measurer, expected)
    measured = ablate(measurer, expected)
    assert_equal(measured, expected.columns)
    assert measured["zero", Head(0, 0)]["logit_change"].shape == (3, 1)


@pytest.mark.parametrize("name", ["llama", "opt", "gemma2"])
def test_sequences_that_begin_with_bos(name: str) -> None:
    """Resampling leaves position 0 as it is: a change of exactly zero must stay one."""
    expected = truth(name, bos=True)
    measured = ablate(Measurer(loaded(name), spec_of()), expected)
    assert_equal(measured, expected.columns)
    assert measured["resample", Head(0, 1)]["logit_change"][:, 0].abs().max() < 1e-6


@pytest.mark.parametrize("name", [*FAMILIES, *POST_NORM, "phi"])
def test_a_head_replaced_by_itself_changes_nothing(name: str) -> None:
    measurer = Measurer(loaded(name), replace(spec_of(), ablations=("resample",)))
    tokens = truth(name).tokens
    clean = measurer.clean(tokens)
    heads = [Head(0, 1), Head(2, 3)]
    measured = columns_of(measurer.ablate(AblationRequest(tokens, heads, ["resample"], tokens)))
    assert measured.keys() == {("resample", head) for head in heads}
    for columns in measured.values():
        assert columns["logit_change"].abs().max() < 1e-5
        for name_of_part in ("heads", "mlps", "last_mlp", "post_norm"):
            assert columns[f"self_repair_from_{name_of_part}"].abs().max() < 1e-5
        np.testing.assert_allclose(
            columns["direct_effect_ablated"], columns["direct_effect"], atol=1e-6
        )
        np.testing.assert_allclose(columns["ln_scale_ablated"], clean.ln_scale, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt_neox", "phi", "cohere", "falcon"])
def test_last_layer_of_a_parallel_model_repairs_by_the_norm_alone(name: str) -> None:
    measured = ablate(Measurer(loaded(name), spec_of()), truth(name))
    for (_, head), columns in measured.items():
        if head.layer == 2:
            for part in ("heads", "mlps", "last_mlp"):
                assert (columns[f"self_repair_from_{part}"] == 0).all()


@pytest.mark.parametrize("name", [*FAMILIES, "gemma3", "bloom", "nemotron"])
def test_values_do_not_depend_on_the_batch_size(name: str) -> None:
    tokens = random_tokens(7, 12, seed=1)
    expected = replace(truth(name), tokens=tokens.numpy(), partners=tokens.roll(2, 0).numpy())
    in_one = ablate(Measurer(loaded(name), spec_of(batch_size=7)), expected)
    clean = Measurer(loaded(name), spec_of(batch_size=7)).clean(expected.tokens)
    for batch_size in (1, 3, None):
        measurer = Measurer(loaded(name), spec_of(batch_size=batch_size))
        for key, columns in ablate(measurer, expected).items():
            for column, values in columns.items():
                torch.testing.assert_close(values, in_one[key][column], rtol=0, atol=1e-5)
        facts = measurer.clean(expected.tokens)
        for fact in ("logit", "ln_scale", "head_effects", "mlp_effects"):
            torch.testing.assert_close(
                getattr(facts, fact), getattr(clean, fact), rtol=0, atol=1e-5
            )


@pytest.mark.parametrize("name", ["gpt_neox", "llama", "glm4", "nemotron"])
def test_chosen_heads_alone_have_the_values_they_have_among_all(name: str) -> None:
    measurer = Measurer(loaded(name), spec_of())
    chosen = [Head(2, 0), Head(1, 3), Head(1, 1)]
    alone, among_all = ablate(measurer, truth(name), chosen), ablate(measurer, truth(name))
    assert alone.keys() == {(ablation, head) for ablation in ABLATIONS for head in chosen}
    for key, columns in alone.items():
        for column, values in columns.items():
            torch.testing.assert_close(values, among_all[key][column], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", list(ALL))
def test_engine_is_checked_against_the_model(name: str) -> None:
    measurer = Measurer(loaded(name), spec_of())
    assert measurer.check_engine(truth(name).tokens) < 1e-4
    logits = measurer._engine.logits
    measurer._engine.logits = lambda tokens: logits(tokens) * 1.01  # type: ignore[method-assign]
    with pytest.raises(EngineMismatchError, match="Nothing was measured"):
        measurer.check_engine(truth(name).tokens)


def test_a_value_bias_that_tokens_change_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a model whose attention patterns do not sum to 1."""
    z_of = HookedEngine._z_of

    def with_a_sink(engine: HookedEngine, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        share = torch.linspace(0.5, 1, 6)[:, None, None]
        return [z * share for z in z_of(engine, inputs)]

    monkeypatch.setattr(HookedEngine, "_z_of", with_a_sink)
    with pytest.raises(InputError, match=r"Layer 0 of .* value biases that cannot be told apart"):
        HookedEngine(loaded("nemotron"))
    HookedEngine(loaded("mixtral"))  # which has none

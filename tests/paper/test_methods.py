"""`cite`: what was measured and how, whatever the run, and whom to cite."""

from pathlib import Path

import selfrepair
from selfrepair.paper import methods
from tests.paper.conftest import RUN


def test_methods_text_has_every_setting_and_the_bibtex(root: Path) -> None:
    said = selfrepair.open(root).cite(RUN)
    for text in (
        "all 8 attention heads of org/toy (ToyForCausalLM, 4 layers of 2 heads, revision step1000",
        "6 sequences of 9 tokens",
        "48 predictions in all",
        "resample ablation replaces it by the same head's z at the same positions of another",
        "zero ablation replaces it by zeros",
        "top 25 % tokens",
        "Standard errors are by sequence (6)",
        "  until: 5%",
        "  x: left to the run",
        "  seed: ",
        "Versions: ",
        "@inproceedings{rushing2024explorations,",
        "pages     = {42836--42855},",
        "@software{selfrepair,",
    ):
        assert text in said, (text, said)
    assert said.count("{") == said.count("}")


def test_the_text_says_what_was_computed_in_which_precision() -> None:
    run = {"layer_precision": ["fp32", "bf16", "bf16"], "precision_error": [0.02, 0.004, 0.0081]}
    assert methods._precision(run) == (
        "Changes were multiplied in bf16 for the heads of 2 of 3 layers (error seen on rows "
        "measured both ways: 0.81 % of the logit changes in the worst layer), and all else was "
        "computed in fp32."
    )
    run = {"layer_precision": ["bf16_fp32", "bf16", "bf16"], "precision_error": None}
    assert methods._precision(run) == (
        "Changes were multiplied in bf16 with sums kept in fp32 for the heads of 1 and in bf16 for "
        "the heads of 2 of 3 layers, and all else was computed in fp32."
    )
    for layers, errors in ((["fp32"] * 3, None), (["fp32"] * 3, [0.02] * 3)):
        run = {"layer_precision": layers, "precision_error": errors}
        assert methods._precision(run) == "All was computed in fp32."

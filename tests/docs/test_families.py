"""The table of families is that of the models that the engines' tests measure."""

from pathlib import Path

from selfrepair_assets.measurement.model.families.known import KNOWN
from tests.benchmarks.families import ABOUT, ABOUT_REFUSED, REFUSED, refusal, rows
from tests.helpers.models.engine_truth import BF16_BOUND, FP32_BOUND, PERTURBATION
from tests.helpers.models.families import ALL, random_model

PAGE = Path(__file__).parents[2] / "docs" / "families.md"


def test_the_table_has_every_family_its_way_and_its_error() -> None:
    text = PAGE.read_text()
    assert text.startswith(ABOUT), "write it anew: python -m tests.benchmarks.families"
    shown, refused = (
        [line.strip("| ").split(" | ") for line in part.splitlines()]
        for part in text[len(ABOUT) :].split(ABOUT_REFUSED)
    )
    assert [row[:3] for row in shown] == [list(row[:3]) for row in rows()]
    for (_, _, way, why), (*_, fast, in_bf16, hooked, times) in zip(rows(), shown, strict=True):
        if why:
            assert hooked == f"refused: {why}"
        assert (times == "-") == (way == "hooked" or bool(why))
        assert (in_bf16 == "-") == (way == "hooked")
        measured = [value for value in (fast, hooked) if value != "-" and "refused" not in value]
        assert len(measured) == (1 if why or way == "hooked" else 2)
        assert all(0 < float(value) < FP32_BOUND for value in measured)
        assert in_bf16 == "-" or 0 < float(in_bf16) < BF16_BOUND
        assert times == "-" or float(times) >= 1
    assert refused == [[name, example, refusal(name)] for name, (example, _) in REFUSED.items()]


def test_every_architecture_of_the_fast_way_is_measured_against_the_oracle() -> None:
    measured = {type(random_model(name)).__name__ for name in PERTURBATION if name in ALL}
    assert measured == set(KNOWN)

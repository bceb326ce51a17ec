"""The table of families is that of the models that the engines' tests measure."""

from pathlib import Path

from selfrepair_assets.measurement.model.families.known import KNOWN
from tests.benchmarks.families import ABOUT, rows
from tests.helpers.models.engine_truth import FP32_BOUND, PERTURBATION
from tests.helpers.models.families import ALL, random_model

PAGE = Path(__file__).parents[2] / "docs" / "families.md"


def test_the_table_has_every_family_its_way_and_its_error() -> None:
    text = PAGE.read_text()
    assert text.startswith(ABOUT), "write it anew: python -m tests.benchmarks.families"
    shown = [line.strip("| ").split(" | ") for line in text[len(ABOUT) :].splitlines()]
    assert [row[:3] for row in shown] == [list(row[:3]) for row in rows()]
    for (_, _, way, why), (*_, fast, hooked) in zip(rows(), shown, strict=True):
        if why:
            assert hooked == f"refused: {why}"
        measured = [value for value in (fast, hooked) if value != "-" and "refused" not in value]
        assert len(measured) == (1 if why or way == "hooked" else 2)
        assert all(0 < float(value) < FP32_BOUND for value in measured)


def test_every_architecture_of_the_fast_way_is_measured_against_the_oracle() -> None:
    measured = {type(random_model(name)).__name__ for name in PERTURBATION if name in ALL}
    assert measured == set(KNOWN)

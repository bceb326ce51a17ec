"""What `selfrepair.measure` leaves behind in the process that calls it."""

import signal
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

import selfrepair
from selfrepair.library import measuring
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.measurement.run_spec import RunSpec


def test_sigterm_is_the_callers_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Materializing changes its handler; a run that fails gives it back, too."""

    @dg.asset
    def some() -> None:
        """Any asset will do."""

    def run_model(*_: object, **__: object) -> None:
        dg.materialize([some])
        assert signal.getsignal(signal.SIGTERM) is not before
        raise KeyboardInterrupt

    def before(*_: object) -> None:
        """No handler that Dagster sets: a test before this one may have left that."""

    monkeypatch.setattr(measuring, "run_model", run_model)
    left = signal.signal(signal.SIGTERM, before)
    try:
        with pytest.raises(KeyboardInterrupt):
            selfrepair.measure("any", tmp_path)
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, left)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tokens": "many"}, "--tokens is a whole number, not 'many'."),
        ({"tokens": None}, "--tokens is a whole number, not None."),
        ({"tokens": 10**400}, "--tokens is a number beyond any run: the most is 1e+12."),
        ({"top_fraction": "2 %"}, "--top-fraction is a number, not '2 %'."),
        ({"center_unembed": 1}, "--center-unembed is True or False, not 1."),
        ({"corpus": ["a.txt"]}, "--corpus is text, not ['a.txt']."),
        ({"ablations": "zero"}, "--ablations is a list, each text, not 'zero'."),
        ({"reinforcement_scales": 3}, "--reinforcement-scales is a list, each a number, not 3."),
        (
            {"reinforcement_scales": [1, "3"]},
            "--reinforcement-scales is a number, not '3'.",
        ),
        (
            {"reinforcement_scales": [10**400]},
            "--reinforcement-scales is a number beyond any run: the most is 1e+12.",
        ),
    ],
)
def test_an_option_of_another_type_is_one_line(
    options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as told:
        selfrepair.measure("any", tmp_path / "data", **options)
    assert str(told.value) == said
    assert not (tmp_path / "data").exists()


def test_numbers_and_paths_may_stand_for_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[RunSpec] = []

    def run_model(_: object, spec: RunSpec, **__: object) -> None:
        seen.append(spec)
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "run_model", run_model)
    text = tmp_path / "text.txt"
    with pytest.raises(KeyboardInterrupt):
        selfrepair.measure(
            "any", tmp_path, until=0.05, layers=5, corpus=text, revision=None,
            tokens=np.int64(2560), top_fraction=np.float32(0.5), ablations=["zero"],
        )  # fmt: skip
    wanted = RunSpec(
        model="any", until="0.05", layers="5", corpus=str(text), tokens=2560, top_fraction=0.5,
        ablations=("zero",),
    )  # fmt: skip
    assert seen == [wanted]
    assert seen[0].as_json() == wanted.as_json()

"""What `selfrepair.measure` leaves behind in the process that calls it."""

import signal
from pathlib import Path

import dagster as dg
import pytest

import selfrepair
from selfrepair.library import measuring


def test_sigterm_is_the_callers_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Materializing changes its handler; a run that fails gives it back, too."""

    @dg.asset
    def some() -> None:
        """Any asset will do."""

    def run_model(*_: object, **__: object) -> None:
        dg.materialize([some])
        assert signal.getsignal(signal.SIGTERM) is not before
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "run_model", run_model)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        selfrepair.measure("any", tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before

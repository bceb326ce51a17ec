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

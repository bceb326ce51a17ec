"""Errors that are told in one line: the command, a run of Dagster's, and whose they are."""

import dagster as dg
import pytest

from selfrepair.dagster_project.cli import main as command
from selfrepair.dagster_project.cli import run
from selfrepair.errors import OneLineError
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.sealed import DamagedError
from selfrepair_assets.assets.resources import hiccups_are_retried
from selfrepair_assets.measurement.errors import EngineMismatchError, InputError

KINDS = [WarehouseError, DamagedError, InputError, EngineMismatchError]


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_prints_its_line_alone(
    kind: type[OneLineError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(**_options: object) -> None:
        raise kind("what is wrong: what to do")

    monkeypatch.setattr(command, "cli", fails)
    assert command._run() == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "error: what is wrong: what to do\n")


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_not_tried_again_for_it_and_its_line_is_found(kind: type[OneLineError]) -> None:
    with pytest.raises(dg.Failure) as failed, hiccups_are_retried():
        raise kind("what is wrong: what to do")
    assert failed.value.allow_retries is False
    assert failed.value.description == "what is wrong: what to do"
    found = run._one_line_cause(failed.value)
    assert type(found) is kind


def test_what_is_a_bug_has_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(**_options: object) -> None:
        raise ValueError("nobody thought of this")

    monkeypatch.setattr(command, "cli", fails)
    assert command._run() == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_engine_that_disagrees_with_its_model_is_no_mistake_of_the_users() -> None:
    assert not issubclass(EngineMismatchError, InputError | WarehouseError)

"""Two hundred bad inputs: one line each, exit code 2, the warehouse as it was, no traceback."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.hostile.bad_files import CORPORA, MODELS
from tests.helpers.hostile.bad_inputs import COMMANDS, OPTIONS
from tests.helpers.runs.cli_runs import Said, installed, refused, small, snapshot

FULL = (["run"], ["publish"], ["delete"])  # are also tried in a warehouse that has something in it


@pytest.fixture
def asked(
    gpt2_folder: Path, gpt2_warehouse: Path, tmp_path: Path, selfrepair: Callable[..., Said]
) -> Callable[..., str]:
    """Runs a command in a warehouse that is not there, or in one with a run; gives its line."""

    def ask(*arguments: object, full: bool = False) -> str:
        root = tmp_path / "data"
        if full:
            root = gpt2_warehouse
        before = snapshot(tmp_path)
        inside = {n: s for n, s in snapshot(root).items() if "dagster/" not in n}
        given = list(map(str, arguments))
        if "--warehouse" not in given:
            given += ["--warehouse", str(root)]
        said = selfrepair(*given)
        assert "Traceback" not in said[2], said[2][-3000:]
        line = refused(said)
        assert len(line) < 2000, line
        assert snapshot(tmp_path) == before
        assert {n: s for n, s in snapshot(root).items() if "dagster/" not in n} == inside
        return line

    return ask


def filled(arguments: list[str], gpt2_folder: Path) -> list[str]:
    names = {
        "{model}": str(gpt2_folder / "gpt2"),
        "{text}": str(gpt2_folder / "text.txt"),
        "{folder}": str(gpt2_folder),
    }
    for name, value in names.items():
        arguments = [argument.replace(name, value) for argument in arguments]
    return arguments


def test_there_are_two_hundred() -> None:
    assert len(OPTIONS) + len(COMMANDS) + len(CORPORA) + len(MODELS) >= 200


def test_bad_options_and_commands(asked: Callable[..., str], gpt2_folder: Path) -> None:
    """In one test: each costs little, and a test of its own a model folder."""
    run = ["run", str(gpt2_folder / "gpt2"), "--corpus", str(gpt2_folder / "text.txt"), *small()]
    cases = {name: ([*run, *given], word) for name, (given, word) in OPTIONS.items()} | COMMANDS
    wrong = []
    for number, (name, (arguments, word)) in enumerate(cases.items()):
        full = number % 3 == 0 and arguments[:1] in FULL
        line = asked(*filled(arguments, gpt2_folder), full=full)
        # With a run on disk, that its settings are others is seen before what is wrong with them.
        if word not in line and not (full and "with other settings" in line):
            wrong.append(f"{name}: {line}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("case", CORPORA)
def test_bad_corpora(
    case: str, gpt2_folder: Path, tmp_path: Path, asked: Callable[..., str]
) -> None:
    name, make, options, said = CORPORA[case]
    make(tmp_path / name)
    line = asked("run", gpt2_folder / "gpt2", *small(), "--corpus", tmp_path / name, *options)
    assert re.search(said, line), line


@pytest.mark.parametrize("case", MODELS)
def test_bad_models(case: str, gpt2_folder: Path, copied: Path, asked: Callable[..., str]) -> None:
    make, said = MODELS[case]
    make(copied)
    line = asked("run", copied, "--corpus", gpt2_folder / "text.txt", *small())
    assert re.search(said, line), line


REAL = ["a\udcff", "x" * 5000, "a\nb", "../../../etc", ""]


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("command", [["run"], ["publish"], ["delete", "--yes"], ["report"]])
def test_the_installed_command_with_real_arguments(
    name: str, command: list[str], tmp_path: Path
) -> None:
    refused(installed(*command, name, "--warehouse", tmp_path / "data"))
    assert not (tmp_path / "data").exists()


def test_no_library_adds_a_line_of_its_own(tmp_path: Path) -> None:
    """In this process, pytest keeps warnings from stderr."""
    for scales in ("1e39", "-1e39", "nan"):
        said = installed("run", "x", f"--reinforcement-scales={scales}", cwd=tmp_path)
        assert "finite number" in refused(said)


def test_weights_that_run_code_are_not_run(
    gpt2_folder: Path, copied: Path, tmp_path: Path, asked: Callable[..., str]
) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (str(tmp_path / "was-run"), "w")

    (copied / "model.safetensors").unlink()
    (copied / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Evil()}))
    asked("run", copied, "--corpus", gpt2_folder / "text.txt", *small())
    assert not (tmp_path / "was-run").exists()


def test_what_can_be_known_is_refused_before_the_model_is_loaded(
    gpt2_folder: Path,
    gpt2_warehouse: Path,
    tmp_path: Path,
    asked: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("the model is loaded")

    monkeypatch.setattr("selfrepair_assets.steps.run_spec.load_model", load)
    run = ("run", gpt2_folder / "gpt2", "--corpus", gpt2_folder / "text.txt", *small())
    assert "such.txt" in asked(*run, "--corpus", "/no/such.txt")
    assert "heads 0 to 3" in asked(*run, "--heads", "L1H4")
    assert "seed: 0, not 1" in asked(*run, "--seed", "1", full=True)
    assert "Unknown device 'tpu'" in asked(*run, "--device", "tpu")
    with pytest.raises(AssertionError, match="the model is loaded"):
        asked(*run)

"""`selfrepair figure` and `cite`, and the menu beside a chart of the app."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from selfrepair import extras
from selfrepair.app.questions.subject import Subject
from selfrepair.dagster_project.cli.main import cli
from selfrepair.paper.figure import for_paper
from selfrepair_assets.measurement.errors import InputError
from tests.helpers.runs.app_runs import page_to_run, said, sound
from tests.paper.conftest import RUN


def test_a_figure_is_written_and_its_files_are_named(root: Path, tmp_path: Path) -> None:
    asked = ["figure", RUN, "section 2.3", "--head", "L1H1", "--ablation", "zero"]
    where = ["--warehouse", str(root), "--output", str(tmp_path), "--width", "double"]
    result = CliRunner().invoke(cli, [*asked, *where, "--choose", "rows=top by direct effect"])
    assert result.exit_code == 0, result.output
    stem = "org-toy@step1000_L1H1_zero_section-2.3_double"
    expected = [str(tmp_path / f"{stem}.{kind}") for kind in ("svg", "pdf", "txt", "py")]
    assert result.output.splitlines() == expected
    assert "top rows by direct effect" in (tmp_path / f"{stem}.txt").read_text()


def test_a_choice_without_a_value_is_refused(root: Path) -> None:
    asked = ["figure", RUN, "1", "--warehouse", str(root), "--choose", "rows"]
    result = CliRunner().invoke(cli, asked)
    assert "'rows' is not NAME=VALUE" in result.output


def test_cite_prints_the_bibtex(root: Path) -> None:
    result = CliRunner().invoke(cli, ["cite", RUN, "--warehouse", str(root)])
    assert result.exit_code == 0, result.output
    assert "@inproceedings{rushing2024explorations," in result.output


def test_the_menu_has_the_caption_and_the_python(
    root: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFREPAIR_WAREHOUSE", str(root))
    page = page_to_run("model", quantity="logit_change", run=RUN, ablation="mean")
    page.session_state["paper:heads_logit_change"] = True
    shown = said(sound(page.run()))
    mean = Subject(subject.generation, RUN, "mean")
    figure = for_paper("map", mean, "column", {"quantity": "logit_change", "kept": "all"})
    assert figure.caption in shown
    assert "quantity='logit_change'" in shown
    labels = [button.proto.label for button in page.get("download_button")]
    assert labels.count("PDF") == labels.count("SVG") == 2
    assert "LaTeX" in labels


def test_a_menu_that_nobody_opens_asks_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFREPAIR_WAREHOUSE", str(root))
    page = sound(page_to_run("model", run=RUN).run())
    assert "PDF" not in [button.proto.label for button in page.get("download_button")]


def test_what_is_not_installed_is_said_in_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELFREPAIR_WAREHOUSE", str(root))
    monkeypatch.setitem(extras.EXTRAS, "paper", ("not_installed_here",))
    line = (
        "a figure for a paper needs not_installed_here, not installed here: "
        "pip install 'selfrepair[paper]'"
    )
    page = page_to_run("model", run=RUN)
    page.session_state["paper:heads_self_repair"] = True
    assert line in said(sound(page.run()))
    with pytest.raises(InputError) as error:
        extras.require("paper", "a figure for a paper")
    assert str(error.value) == line

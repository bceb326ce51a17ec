"""Every page and the report over a run of which only some sequences are measured so far."""

from pathlib import Path

import pytest

from selfrepair.app.figures.report import write_report
from selfrepair.dagster_project.cli.status import print_status
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.publish import publish
from tests.helpers.runs.app_runs import PAGES, page, said, sound
from tests.helpers.runs.detail_facts import write_details
from tests.helpers.runs.small_run import run_row, write_run

SO_FAR = "4 of 12 sequences measured so far"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of twelve sequences, published with four, while its other shards are measured."""
    root = tmp_path_factory.mktemp("part")
    warehouse = Warehouse(root).prepare()
    row = run_row(n_sequences=12, sequence_length=9, top_fraction=0.2)
    write_run(warehouse, row, shard=4)
    write_details(warehouse, row, shard=4)
    for table in ("head_ablations", "component_changes", "neuron_repairs"):
        of_run = RunTable(warehouse, table, "toy")
        of_run.withdraw(of_run.shards()[1:])
    for table in ("neuron_changes", "self_reinforcement"):
        of_run = RunTable(warehouse, table, "toy")
        of_run.withdraw(of_run.shards())
    publish(warehouse, row | {"n_sequences_measured": 4, "n_tokens": 4 * 8})
    return root


def test_status_and_report_say_so(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_status(Warehouse(root))
    told = capsys.readouterr().out
    assert SO_FAR in told
    assert "half done: toy, 1 of 3 shards (33%)" in told
    write_report(Warehouse(root), "toy", tmp_path / "report.html")
    assert f"<b>{SO_FAR}</b>" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_that_the_run_is_measured_so_far(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = said(sound(page(root, name, monkeypatch)))
    if name not in ("sql", "glossary"):  # which name no run by its headline
        assert SO_FAR in text


def test_it_is_listed_as_being_measured_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = sound(page(root, "overview", monkeypatch))
    progress = [one.proto.text for one in test.get("progress")]
    assert progress == ["**toy** is being measured: 1 of 3 shards of heads measured"]

"""The report: one file with every figure, which needs nothing else."""

import re
from pathlib import Path

import pytest
from markupsafe import escape

from selfrepair.app.figures import registry
from selfrepair.app.figures.report import write_report
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from tests.helpers.runs.app_runs import generation_of, publish_run

ABSENT = {"post-norm", *(f"{number}, over training" for number in (1, 6, 11))}


def test_one_file_holds_every_figure(tmp_path: Path) -> None:
    publish_run(tmp_path / "w", "org/<b>toy</b>", details=True, n_layers=4)
    write_report(Warehouse(tmp_path / "w"), "org/<b>toy</b>", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    generation = generation_of(tmp_path / "w")
    shown = {
        name: entry
        for name, entry in registry.entries(generation).items()
        # The authors have none of this model, it has no post-norm and is no step of a training.
        if not name.startswith("published numbers") and name not in ABSENT
    }
    drawn = registry.FIGURES.keys() - ABSENT
    assert {str(number) for number in range(1, 23)} <= set(shown)
    for entry in shown.values():
        assert f"<h2>{escape(entry.heading)}</h2>" in text
        assert f"<b>The paper:</b> {escape(entry.claim)}</p>" in text
    assert text.count("<section>") == len(shown)
    assert "Post-norm: Self-repair" not in text
    assert "over training" not in text
    assert text.count("Plotly.newPlot(") == len(drawn) > 30
    assert text.count('<div class="rows">') == len(shown) - len(drawn)
    assert "<b>Differs here:</b> The shaded zone says only that the logit falls by less" in text
    assert len(text) < 12_000_000  # Plotly's script is in it once
    assert "org/&lt;b&gt;toy&lt;/b&gt;" in text
    assert "<b>toy</b>" not in text.replace("org/\\u003cb\\u003etoy", "")
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", text)
    assert "from head_summary" in text or "from self_repair_by_head" in text


def test_a_run_without_details_has_the_other_figures(tmp_path: Path) -> None:
    publish_run(tmp_path / "w", "toy", ablations=["zero"])
    write_report(Warehouse(tmp_path / "w"), "toy", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "Figure 2:" in text
    assert "Figure 8:" not in text


def test_what_is_not_published_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="nothing is published"):
        write_report(Warehouse(tmp_path / "none"), "toy", tmp_path / "r.html")
    publish_run(tmp_path / "w", "toy", ablations=["zero"])
    with pytest.raises(WarehouseError, match="gone is not published; there are: toy"):
        write_report(Warehouse(tmp_path / "w"), "gone", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()
    with pytest.raises(WarehouseError, match="write "):
        write_report(Warehouse(tmp_path / "w"), "toy", "/proc/nowhere/r.html")

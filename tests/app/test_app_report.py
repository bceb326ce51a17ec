"""The report: one file with every figure, which needs nothing else."""

import re
from pathlib import Path

import pytest

from selfrepair.app.figures.report import write_report
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.paths import Warehouse
from tests.helpers.runs.app_runs import publish_run


def test_one_file_holds_every_figure(tmp_path: Path) -> None:
    publish_run(tmp_path / "w", "org/<b>toy</b>", details=True, n_layers=4)
    write_report(Warehouse(tmp_path / "w"), "org/<b>toy</b>", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    drawn = [*range(1, 23), "7, histogram", "2.3", "2.3, per prompt", "4.2.2", "5.1", "5.3"]
    tables = ["4.2.1", "4.2.1, negligible", "5.1, by run", "5.2", "E"]
    for figure in [*drawn, *tables]:
        assert re.search(rf"<h2>(Figure|Section|Appendix) {figure}: ", text), figure
    assert text.count('<div class="rows">') == len(tables)
    beyond = ["Who repairs whom", "Positions", "What is repaired", "What is repaired, by run"]
    for figure in beyond:
        assert f"<h2>{figure}: " in text
    assert text.count("Plotly.newPlot(") == len(drawn) + len(beyond)
    assert text.count("<section>") == len(drawn) + len(beyond) + len(tables)
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

"""Who repairs whom: which heads and components are asked for, and what their colours say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfrepair.app.charts.repair_charts import full_color, made_by_few, who_repairs_whom
from selfrepair.app.questions import detail_questions
from selfrepair.app.questions.subject import Subject
from tests.helpers.runs.app_runs import generation_of, page, said, sound


def pairs(changes: list[float], errors: list[float]) -> pd.DataFrame:
    """Changes of MLP layers 0, 1, ... on head L0H0."""
    return pd.DataFrame(
        {
            "layer": 0,
            "head": 0,
            "ablated": "L0H0",
            "repairer": [f"MLP {i}" for i in range(len(changes))],
            "component_layer": range(len(changes)),
            "component_head": None,
            "direct_effect_change": changes,
            "direct_effect_change_se": errors,
            "direct_effect_change_trimmed": changes,
            "beyond_noise": [abs(c) > 2 * e for c, e in zip(changes, errors, strict=True)],
            "share_removed": 1.0,
            "n_rows": 4,
            "n_clusters": 2,
        }
    )


def test_one_noisy_cell_does_not_set_the_colours() -> None:
    """+4.8 ± 3.8 by a single token beside changes of 0.1 to 0.3 that are sure."""
    frame = pairs([4.8, 0.1, -0.2, 0.3], [3.8, 0.01, 0.01, 0.01])
    end = full_color(frame)
    assert end == pytest.approx(np.quantile([0.1, 0.2, 0.3], 0.98))
    faint, clear, marks, arrows = who_repairs_whom(frame, dark=False).data
    assert (faint.zmax, clear.zmax) == (end, end)
    assert faint.opacity < clear.opacity == 1
    np.testing.assert_array_equal(faint.z, [[4.8, np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(clear.z, [[np.nan, 0.1, -0.2, 0.3]])
    assert list(marks.x) == list(frame["repairer"])
    # 0.3 is above 98 % of the sure ones
    assert list(zip(arrows.x, arrows.text, strict=True)) == [("MLP 0", "▲"), ("MLP 3", "▲")]
    assert list(arrows.textfont.color) == ["#000000", "#ffffff"], "told from the cell's colour"


def test_without_a_sure_cell_the_colours_are_of_all() -> None:
    assert full_color(pairs([1.0, -1.0], [9.0, 9.0])) == 1.0
    assert full_color(pairs([0.0], [0.0])) == 1.0


def test_names_are_links_where_there_is_an_address() -> None:
    frame = pairs([1.0, 2.0], [0.1, 0.1])
    figure = who_repairs_whom(
        frame, dark=True, link=lambda name: f"head?head={name}" if "H" in name else None
    )
    assert figure.layout.yaxis.ticktext == ('<a href="head?head=L0H0" target="_self">L0H0</a>',)
    assert figure.layout.xaxis.ticktext == ("MLP 0", "MLP 1")


def test_a_mean_that_few_tokens_make_is_listed() -> None:
    frame = pairs([4.8, 0.3], [3.8, 0.01]).assign(direct_effect_change_trimmed=[0.2, 0.305])
    assert list(made_by_few(frame)["repairer"]) == ["MLP 0"]


def test_the_heads_are_the_most_self_repaired(toy: Path) -> None:
    subject = Subject(generation_of(toy), "toy", "zero")
    found = detail_questions.who_repairs_whom(subject).frame
    heads = subject.ask(
        "select name from head_summary where ablation = $ablation order by self_repair desc"
    ).frame
    assert list(dict.fromkeys(found["ablated"])) == list(heads["name"])  # fewer than 30
    fewer = detail_questions.who_repairs_whom(subject, left_out=4).frame
    assert fewer["n_rows"].sum() < found["n_rows"].sum()


@pytest.mark.parametrize("left_out", ["none", "the first", "the first 4"])
def test_the_model_page_leaves_out_positions(
    toy: Path, left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = sound(page(toy, "model", monkeypatch, left_out=left_out))
    assert "Who repairs whom" in said(shown)
    assert shown.query_params["left_out"] == left_out

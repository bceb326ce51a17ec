"""Tokens in colour: one scale for a head, whose ends are marked, in the list and in a token."""

import re
from pathlib import Path

import pandas as pd
import pytest

from selfrepair.app.charts.run_charts import NEGATIVE, POSITIVE
from selfrepair.app.page_parts.token_view import Scale, colored, legend
from tests.helpers.runs.app_runs import page, publish_run, sound

ORANGE, BLUE = "224, 122, 60", "76, 123, 243"


def test_the_palette_is_that_of_the_charts() -> None:
    for color, numbers in ((POSITIVE, ORANGE), (NEGATIVE, BLUE)):
        assert ", ".join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5)) == numbers


@pytest.mark.parametrize(
    ("value", "style"),
    [
        (0.0, f"background: rgba({BLUE}, 0.00);"),
        (1.0, f"background: rgba({ORANGE}, 0.38);"),  # half of the scale: half of 0.75
        (2.0, f"background: rgba({ORANGE}, 0.75);"),  # its end is not beyond it
        (2.1, f"background: rgba({ORANGE}, 0.75); box-shadow: inset 0 2px currentColor;"),
        (-5.0, f"background: rgba({BLUE}, 0.75); box-shadow: inset 0 -2px currentColor;"),
        (float("nan"), ""),
    ],
)
def test_a_value_beyond_the_scale_is_marked(value: float, style: str) -> None:
    assert Scale("self_repair", 2.0).style(value) == style


def test_a_token_says_its_number_and_whether_it_is_beyond() -> None:
    text = pd.DataFrame(
        {
            "position": [3, 4],
            "token_text": ["a", "b"],
            "target_text": ["b", "<c>"],
            "self_repair": [1.0, -3.0],
        }
    )
    shown = colored(text, Scale("self_repair", 2.0), mark=4)
    assert re.findall(r'title="([^"]*)"', shown) == [
        "position 3: self-repair +1.00",
        "position 4: self-repair −3.00, beyond the scale",
    ]
    assert "&lt;c&gt;</span>" in shown
    assert "+2.0</span>" in legend(Scale("self_repair", 2.0), "0.5 % of the tokens")


def test_the_list_and_an_opened_token_have_one_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_run(tmp_path, "toy")

    def legends(**chosen: str) -> set[str]:
        shown = sound(page(tmp_path, "head", monkeypatch, **chosen)).get("html")
        bodies = [one.proto.body for one in shown]
        return {body for body in bodies if "each token is coloured" in body}

    listed = legends(rows="all tokens")
    assert len(listed) == 1
    assert legends(rows="all tokens", page="3") == listed
    assert legends(rows="top by direct effect") == listed
    assert legends(instance="2:5") == listed
    assert legends(instance="2:5", colour="logit_change") != listed


def test_a_page_that_is_not_there_is_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_run(tmp_path, "toy")

    def shown(number: str, **chosen: str) -> list[str]:
        listed = sound(page(tmp_path, "head", monkeypatch, page=number, **chosen))
        return [one.proto.body for one in listed.get("html")]

    last = shown("6", rows="all tokens")  # 6 sequences x 8 positions, 8 on a page
    assert last == shown("999", rows="all tokens") != shown("5", rows="all tokens")
    assert shown("2") == shown("1"), "the top rows have one page alone"

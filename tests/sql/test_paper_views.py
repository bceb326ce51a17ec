"""The authors' published numbers, and a run of the same model beside them."""

from typing import Any

import pytest

from tests.helpers.runs.literal_facts import answer, warehouse_of

PLACES = [(0, 0), (0, 1), (1, 0), (1, 1)]
GPT2 = {"model": "openai-community/gpt2", "top_fraction": 0.02, "n_layers": 12}


def head(number: int, offset: float) -> list[dict[str, Any]]:
    """100 rows of one head in two sequences; the top two have direct effects offset +- 1/2."""
    return [
        {
            "layer": 11,
            "head": number,
            "sequence": n // 50,
            "position": n % 50,
            "direct_effect": {0: offset + 0.5, 50: offset - 0.5}.get(n, -1.0),
        }
        for n in range(100)
    ]


def test_the_published_numbers_are_all_there_and_close() -> None:
    connection = warehouse_of([])
    counts = connection.execute(
        "select model, count(*), avg(layernorm_fraction_clipped) from paper_head_summary"
        " group by model order by model"
    ).fetchall()
    assert counts == [
        ("EleutherAI/pythia-160m", 144, pytest.approx(0.341, abs=5e-4)),
        ("EleutherAI/pythia-410m", 384, pytest.approx(0.251, abs=5e-4)),
        ("gpt2", 144, pytest.approx(0.318, abs=5e-4)),
        ("gpt2-medium", 384, pytest.approx(0.296, abs=5e-4)),
    ]
    (worst,) = connection.execute(
        """
        select max(abs(logit_change - (direct_effect_ablated - direct_effect)
            - self_repair_from_heads - self_repair_from_mlps - self_repair_from_layernorm))
        from paper_head_summary
        """
    ).fetchone() or (None,)
    assert worst is not None
    assert worst < 2e-5


def test_a_run_of_the_same_model_stands_beside_the_paper() -> None:
    connection = warehouse_of(head(3, 4.0), runs=[GPT2])
    (paper,) = connection.execute(
        "select direct_effect from paper_head_summary"
        " where model = 'gpt2' and layer = 11 and head = 3"
    ).fetchone() or (None,)
    (row,) = answer(connection, "from beside_paper where quantity = 'direct_effect'")
    assert (row["layer"], row["head"], row["n_rows"]) == (11, 3, 2)
    # 4.5 | 3.5: mean 4, error sqrt(2 * (1/4 + 1/4)) / 2 = 1/2.
    assert row["value"] == 4
    assert row["value_se"] == pytest.approx(0.5)
    assert row["paper_value"] == paper
    assert row["difference"] == pytest.approx(4 - paper)
    assert row["difference_in_errors"] == pytest.approx((4 - paper) / 0.5)
    assert len(answer(connection, "from beside_paper")) == 9  # one per quantity


@pytest.mark.parametrize(
    "run",
    [
        GPT2 | {"top_fraction": 0.04},  # other rows
        GPT2 | {"model": "EleutherAI/pythia-160m-deduped"},  # another model
    ],
)
def test_what_cannot_be_compared_is_not(run: dict[str, Any]) -> None:
    connection = warehouse_of(head(3, 4.0), runs=[run])
    assert answer(connection, "from beside_paper") == []
    assert answer(connection, "from paper_correlation") == []


def test_other_ablations_are_not_compared() -> None:
    rows = [row | {"ablation": "zero"} for row in head(3, 4.0)]
    assert answer(warehouse_of(rows, runs=[GPT2]), "from beside_paper") == []


def test_correlation_over_heads() -> None:
    # Three heads whose direct effects are twice the authors' and 1: perfectly correlated.
    authors = dict(
        warehouse_of([])
        .execute(
            "select head, direct_effect from paper_head_summary where model = 'gpt2' and layer = 11"
        )
        .fetchall()
    )
    rows = [row for number in range(3) for row in head(number, 2 * authors[number] + 1)]
    connection = warehouse_of(rows, runs=[GPT2])
    (row,) = answer(connection, "from paper_correlation where quantity = 'direct_effect'")
    assert row["n_heads"] == 3
    assert row["correlation"] == pytest.approx(1)
    assert row["paper_value"] == pytest.approx(sum(authors[n] for n in range(3)) / 3)
    assert row["value"] == pytest.approx(2 * row["paper_value"] + 1, rel=1e-6)
    differences = [authors[n] + 1 for n in range(3)]
    assert row["difference_rms"] == pytest.approx((sum(d**2 for d in differences) / 3) ** 0.5)
    assert row["difference_in_errors_median"] == pytest.approx(sorted(differences)[1] / 0.5)

"""Kept rows and their details by hand: three neurons, two rows."""

import numpy as np
import pytest
import torch

from selfrepair_assets.measurement.engine.kept_details import curve_counts, summarize_neurons
from selfrepair_assets.measurement.engine.results import KeptRows, MeasuredHeads
from selfrepair_assets.measurement.heads import Head
from tests.helpers.runs.literal_facts import warehouse_of


def part(rows: KeptRows, values: torch.Tensor) -> MeasuredHeads:
    columns = {"logit_change": torch.zeros(1, 1, 2)}
    return MeasuredHeads("resample", [Head(0, 0)], columns, rows, {"net_change": values})


def test_parts_without_rows_join_to_no_rows() -> None:
    empty = part(KeptRows(*np.zeros((4, 0), dtype=np.int64)), torch.zeros(0))
    joined = MeasuredHeads.of_batches([empty, empty])
    assert joined.kept is not None
    assert joined.details is not None
    assert len(joined.kept) == len(joined.details["net_change"]) == 0


def test_parts_join_in_order() -> None:
    one = KeptRows(*(np.array([value]) for value in (0, 0, 0, 1)))
    parts = [part(one, torch.tensor([value])) for value in (5.0, 7.0)]
    joined = MeasuredHeads.of_batches(parts)
    assert joined.kept is not None
    assert joined.details is not None
    assert joined.kept.sequence.tolist() == [0, 1]
    assert joined.details["net_change"].tolist() == [5, 7]
    assert joined.columns["logit_change"].shape == (1, 2, 2)


def test_neurons_are_ranked_by_what_makes_up_for_the_head() -> None:
    clean = torch.tensor([[-3.0, 1.0, 0.0], [-3.0, 1.0, 0.0]])
    change = torch.tensor([[2.0, -1.0, 0.001], [2.0, -1.0, 0.001]])
    found = summarize_neurons(clean, change, torch.tensor([1.0, -1.0]))
    assert found["neurons"].tolist() == [[0, 2, 1], [1, 2, 0]]  # a negative effect ranks reversed
    assert found["direct_effects"][0].tolist() == [-3, 0, 1]
    assert found["direct_effects_ablated"][0].tolist() == [-1, torch.tensor(0.001).item(), 0]
    assert found["negligible_counts"].tolist() == [[0, 0, 1, 1]] * 2  # of |1|: below 1e-4 .. 1e-1
    np.testing.assert_allclose(found["net_change"], [1.001] * 2, rtol=1e-6)
    np.testing.assert_allclose(found["positive_change"], [2.001] * 2, rtol=1e-6)
    np.testing.assert_allclose(found["absolute_change"], [3.001] * 2, rtol=1e-6)
    share = found["cumulative_share"]
    assert share.shape == (2, 4)  # of none to all three neurons
    assert share[:, 0].tolist() == [0, 0]
    np.testing.assert_allclose(share[0, 1:3], [2 / 3.001, 2.001 / 3.001], rtol=1e-5)
    np.testing.assert_allclose(share[1, 1:3], [1 / 3.001, 1.001 / 3.001], rtol=1e-5)
    np.testing.assert_allclose(share[:, 3], [1, 1], rtol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 4, 50, 51, 99, 100, 101, 102, 103, 150, 199, 200, 250, 3072])
def test_the_curve_is_measured_at_hundredths_and_at_each_of_the_last_neurons(n: int) -> None:
    counts = curve_counts(n)
    assert counts == sorted(set(counts))
    assert set(range(max(0, n - 50), n + 1)) <= set(counts)
    assert {round(i * n / 100) for i in range(101)} <= set(counts)
    assert len(counts) <= 101 + 50
    # A list of 101 shares is one of an earlier version, which had the hundredths alone.
    assert len(counts) != 101 or counts == list(range(101))


def test_sql_knows_the_numbers_of_neurons_that_are_measured() -> None:
    connection = warehouse_of([])
    for n in [1, 4, 50, 99, 100, 101, 150, 3072, 11008]:
        counts = curve_counts(n)
        asked = "select cumulative_share_counts($n, $points)"
        row = connection.execute(asked, {"n": n, "points": len(counts)}).fetchone()
        assert row == (counts,)
        row = connection.execute(asked, {"n": n, "points": 101}).fetchone()
        assert row == ([round(i * n / 100) for i in range(101)],)

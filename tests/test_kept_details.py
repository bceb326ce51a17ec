"""Kept rows and their details by hand: three neurons, two rows."""

import numpy as np
import torch

from selfrepair_assets.measurement.kept_details import KeptRows, summarize_neurons
from selfrepair_assets.measurement.perturbation import AblatedHeads, join
from selfrepair_assets.measurement.run_spec import Head


def part(rows: KeptRows, values: torch.Tensor) -> AblatedHeads:
    columns = {"logit_change": torch.zeros(1, 1, 2)}
    return AblatedHeads("resample", [Head(0, 0)], columns, rows, {"net_change": values})


def test_parts_without_rows_join_to_no_rows() -> None:
    empty = part(KeptRows.none(), torch.zeros(0))
    joined = join([empty, empty], empty.heads, dim=1)
    assert joined.kept is not None
    assert joined.details is not None
    assert len(joined.kept) == len(joined.details["net_change"]) == 0


def test_parts_join_in_order() -> None:
    one = KeptRows(*(np.array([value]) for value in (0, 0, 0, 1)))
    parts = [part(one, torch.tensor([5.0])), part(one.after(1), torch.tensor([7.0]))]
    joined = join(parts, parts[0].heads, dim=1)
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
    assert share.shape == (2, 101)
    assert share[:, 0].tolist() == [0, 0]
    np.testing.assert_allclose(share[0, 33], 2 / 3.001, rtol=1e-5)  # one neuron of three
    np.testing.assert_allclose(share[:, 100], [1, 1], rtol=1e-6)

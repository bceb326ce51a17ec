"""Two sides on the same axes: which quantities are shown."""

import pandas as pd

from selfrepair.app.charts.compare_charts import QUANTITIES, means, present


def test_the_post_norms_part_is_shown_where_a_side_has_one() -> None:
    rows = pd.DataFrame(
        {
            "quantity": QUANTITIES,
            "one_mean": [0.0 if "post_norm" in name else 1.0 for name in QUANTITIES],
            "other_mean": 0.0,
            "difference": -1.0,
            "one_se": 0.1,
            "other_se": 0.1,
            "difference_se": 0.1,
        }
    )
    assert set(QUANTITIES) - set(present(rows)["quantity"]) == {"self_repair_from_post_norm"}
    assert len(means(present(rows), "one", "other").data[0].x) == len(QUANTITIES) - 1
    assert list(present(rows.assign(other_mean=0.5))["quantity"]) == list(QUANTITIES)

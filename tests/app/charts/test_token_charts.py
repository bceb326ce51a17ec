"""Charts of tokens, as far as they change the rows that they are given."""

import pandas as pd
import pytest

from selfrepair.app.charts.token_charts import histogram


def bins(starts: list[float], rows: list[int], width: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "ablation": "resample",
            "bin_start": starts,
            "bin_end": [start + width for start in starts],
            "n_rows": rows,
            "share": [n / sum(rows) for n in rows],
        }
    )


def steps(frame: pd.DataFrame) -> list[tuple[float, float]]:
    """(edge, height) of the drawn steps."""
    [line] = histogram(frame, x="x").data
    return list(zip([round(float(x), 9) for x in line.x], line.y, strict=True))


def test_few_rows_in_many_bins_are_put_together() -> None:
    """4 rows over 40 bins of 0.05: 16 bins are wanted, 4 together make 10 of 0.2."""
    few = bins([-1.0, -0.05, 0.0, 0.95], [1, 1, 1, 1], 0.05)
    assert steps(few) == [
        *((-1.0, 0.0), (-1.0, 0.25), (-0.8, 0.0), (-0.2, 0.0)),
        *((-0.2, 0.25), (0.0, 0.25), (0.2, 0.0), (0.8, 0.0)),
        *((0.8, 0.25), (1.0, 0.0)),
    ]


def test_many_rows_keep_their_bins() -> None:
    many = bins([0.0, 0.05, 0.1], [100, 300, 100], 0.05)
    assert steps(many) == [(0.0, 0.0), (0.0, 0.2), (0.05, 0.6), (0.1, 0.2), (0.15, 0.0)]


def test_bins_of_another_grid_stay() -> None:
    shifted = bins([0.013 + 0.14 * i for i in range(20)], [1] * 20, 0.02)
    edges = [x for x, _ in steps(shifted)]
    assert edges[0] == 0.013
    assert edges[-1] == pytest.approx(0.013 + 0.14 * 19 + 0.02)

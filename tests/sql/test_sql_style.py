"""What `make lint` says of SQL: today's style passes, and each way of leaving it is found."""

from pathlib import Path

import pytest
import sqlfluff

SETTINGS = Path(__file__).parents[2] / ".sqlfluff"
GOOD = """\
-- One row per run, ablation and head: a macro that has all that DuckDB 2.0 adds.
create macro good_of(rows, fraction) as table
with

kept as (
    select
        run_id,
        layer,
        avg(columns(lambda name: suffix(name, '_se'))::double) as "\\0_mean",
        list_transform([1, 2], lambda i: i + fraction) as numbers
    from query_table(rows)
    join runs using (run_id)
    where layer = $layer
        and head <> 1
    group by all
)

select * exclude (numbers)
from kept
union all by name
from kept
order by all
"""
BAD = {
    "CP01": ("from query_table(rows)", "FROM query_table(rows)"),
    "CP03": ("avg(columns", "AVG(columns"),
    "LT14": ("\n    where layer", " where layer"),
    "LT09": ("run_id,\n        layer,", "run_id, layer,"),
    "LT04": ("run_id,\n        layer,", "run_id\n        , layer,"),
    "LT05": ("as numbers", f"as numbers_{'x' * 90}"),
    "LT12": ("order by all\n", "order by all"),
    "CV01": ("head <> 1", "head != 1"),
    "AL02": ("fraction) as numbers", "fraction) numbers"),
    "PRS": ("        layer,", "        layer is not distinct from 1 as first,"),
}


def found(sql: str) -> set[str]:
    return {str(one["code"]) for one in sqlfluff.lint(sql, config_path=str(SETTINGS))}


def test_the_style_passes() -> None:
    assert found(GOOD) == set()


@pytest.mark.parametrize("rule", BAD)
def test_what_leaves_the_style_is_found(rule: str) -> None:
    good, bad = BAD[rule]
    assert good in GOOD
    assert rule in found(GOOD.replace(good, bad, 1))

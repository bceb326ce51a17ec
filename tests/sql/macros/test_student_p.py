"""Student's t in SQL against mpmath's incomplete beta function; the correction for many tests."""

import duckdb
import mpmath
import pytest

from selfrepair.warehouse import sql_created


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect()
    sql_created.create_tables(made)
    sql_created.create_all(made, comments=False)
    return made


def exact(t: float, df: int) -> float:
    """P(|T| > t): the regularised incomplete beta function of df / (df + t^2)."""
    x = mpmath.mpf(df) / (df + mpmath.mpf(t) ** 2)
    return float(mpmath.betainc(df / 2, 0.5, 0, x, regularized=True))


@pytest.mark.parametrize("df", [1, 2, 3, 9, 10, 15, 49, 100, 999])
@pytest.mark.parametrize("t", [0.0, 0.1, 1.0, 2.0, 2.262, 5.0, 12.0])
def test_p_values(connection: duckdb.DuckDBPyConnection, t: float, df: int) -> None:
    [found] = connection.execute("select student_p(?, 0.5, ?)", [-t / 2, df + 1]).fetchone() or [0]
    assert found == pytest.approx(exact(t, df), rel=1e-6, abs=1e-13)


@pytest.mark.parametrize("df", [1001, 10_000])
@pytest.mark.parametrize("t", [0.0, 0.5, 1.96, 4.0])
def test_p_values_of_many_clusters(
    connection: duckdb.DuckDBPyConnection, t: float, df: int
) -> None:
    [found] = connection.execute("select student_p(?, 1, ?)", [t, df + 1]).fetchone() or [0]
    assert found == pytest.approx(exact(t, df), rel=2e-3)


def test_without_an_error_there_is_no_p_value(connection: duckdb.DuckDBPyConnection) -> None:
    query = "select student_p(1, null, 12), student_p(1, 0, 12), student_p(0, 0, 12)"
    assert connection.execute(query).fetchone() == (None, 0, 1)


def test_many_tests_are_corrected_for(connection: duckdb.DuckDBPyConnection) -> None:
    """The example of Benjamini and Hochberg (1995), section 3.2: four of fifteen are found."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240]
    p += [0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    connection.execute("create or replace temp table tests (family varchar, p_value double)")
    connection.executemany("insert into tests values ('a', ?)", [[value] for value in p])
    connection.execute("insert into tests values ('a', null), ('b', 0.04)")
    rows = connection.execute("from adjusted_p('tests') order by family, p_value").fetchall()
    found = [row[2] for row in rows if row[0] == "a"]
    assert [value < 0.05 for value in found[:15]] == [True] * 4 + [False] * 11
    assert found[:4] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625])
    assert found[15] is None
    assert rows[-1] == ("b", 0.04, 0.04)

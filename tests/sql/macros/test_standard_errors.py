"""The clustered standard errors against plain numpy, and against a bootstrap over sequences.

That of the top rows selects them anew in every draw: with other text the cut is another.
"""

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from selfrepair.warehouse import sql_created
from tests.helpers.runs.literal_facts import (
    RUN,
    answer,
    copy_direct_effects,
    fill_stored_results,
    insert_arrow,
    warehouse_of,
)

N_SEQUENCES, LENGTH, TOP_FRACTION = 120, 20, 0.1
QUANTITIES = ("direct_effect", "logit_change", "self_repair", "layernorm_ratio")


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    """Two heads whose tokens are alike within a sequence, and whose sequences are alike."""
    made = warehouse_of([], runs=[RUN | {"top_fraction": TOP_FRACTION}])
    random = np.random.default_rng(0)
    shape = (N_SEQUENCES, LENGTH)
    of_sequence = random.normal(size=(N_SEQUENCES, 1))
    sequence, position = np.indices(shape)
    place = {"sequence": sequence.ravel(), "position": position.ravel()}
    n = sequence.size
    constant = {"token": 1, "target": 2, "logit": 0.0, "logit_bias": 0.0, "ln_scale": 1.0}
    words = {"run_id": ["run"] * n, "token_text": ["a"] * n, "target_text": ["b"] * n}
    tokens = words | place | {name: np.full(n, value) for name, value in constant.items()}
    insert_arrow(made, "tokens", pa.table(tokens))
    for head in range(2):
        effect = random.exponential(size=shape) + 0.5 * of_sequence
        change = -0.6 * effect + 0.7 * of_sequence + random.normal(size=shape)
        scale = 1 - 0.02 * of_sequence + 0.01 * random.normal(size=shape)
        columns = {"direct_effect": effect, "logit_change": change, "ln_scale_ablated": scale}
        columns["ln_scale"] = np.ones(shape)
        for name in ("direct_effect_ablated", "self_repair_from_heads", "self_repair_from_mlps"):
            columns[name] = np.zeros(shape)
        columns["self_repair_from_last_mlp"] = np.zeros(shape)
        rows = {"run_id": ["run"] * n, "ablation": ["resample"] * n, **place}
        rows |= {"layer": np.zeros(n, np.int16), "head": np.full(n, head, np.int16)}
        rows |= {name: values.ravel().astype(np.float32) for name, values in columns.items()}
        insert_arrow(made, "head_ablations", pa.table(rows))
    copy_direct_effects(made)
    sql_created.create_all(made, comments=False)
    fill_stored_results(made)
    return made


def values_of(
    connection: duckdb.DuckDBPyConnection, relation: str, head: int, quantity: str
) -> tuple[np.ndarray, np.ndarray]:
    """(sequence, value) of the relation's rows of a head."""
    rows = connection.execute(
        f"select sequence, {quantity}::double from {relation} where head = ?", [head]
    ).fetchall()
    sequence, value = zip(*rows, strict=True)
    return np.array(sequence), np.array(value)


def clustered(sequence: np.ndarray, value: np.ndarray) -> float:
    residual = value - value.mean()
    clusters = np.unique(sequence)
    total = sum(residual[sequence == g].sum() ** 2 for g in clusters)
    return float(np.sqrt(len(clusters) / (len(clusters) - 1) * total) / len(value))


def draws_of(n: int) -> np.ndarray:
    """How often each sequence is drawn: [draw sequence]."""
    random = np.random.default_rng(1)
    return random.multinomial(N_SEQUENCES, np.full(N_SEQUENCES, 1 / N_SEQUENCES), size=n)


def drawn_means(
    connection: duckdb.DuckDBPyConnection, head: int, quantity: str, top: bool, draws: int
) -> np.ndarray:
    """The mean over all rows, or over the top rows selected anew, of every draw of sequences."""
    sequence, value = values_of(connection, "self_repair", head, quantity)
    order = np.argsort(-values_of(connection, "self_repair", head, "direct_effect")[1])
    sequence, value = sequence[order], value[order]
    means = []
    for drawn in draws_of(draws):
        weight = drawn[sequence]
        if top:  # the first rows, drawn as often as they are, until the fraction is full
            before = np.cumsum(weight) - weight
            weight = np.clip(TOP_FRACTION * weight.sum() - before, 0, weight)
        means.append(weight @ value / weight.sum())
    return np.array(means)


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("suffix", ["_all", ""])
def test_head_errors(connection: duckdb.DuckDBPyConnection, quantity: str, suffix: str) -> None:
    column, top = quantity + suffix, not suffix
    for row in answer(connection, "from head_summary"):
        relation = "top_by_direct_effect" if top else "self_repair"
        sequence, value = values_of(connection, relation, row["head"], quantity)
        assert row[column] == pytest.approx(value.mean(), rel=1e-9)
        if not top:
            assert row[f"{column}_se"] == pytest.approx(clustered(sequence, value), rel=1e-6)
        drawn = drawn_means(connection, row["head"], quantity, top, 1000).std(ddof=1)
        assert row[f"{column}_se"] == pytest.approx(drawn, rel=0.15)


def test_rows_as_given_would_have_too_small_an_error(connection: duckdb.DuckDBPyConnection) -> None:
    for row in answer(connection, "from head_summary"):
        as_given = clustered(
            *values_of(connection, "top_by_direct_effect", row["head"], "direct_effect")
        )
        assert row["direct_effect_se"] > 1.4 * as_given


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("suffix", ["_all", ""])
def test_layer_errors(connection: duckdb.DuckDBPyConnection, quantity: str, suffix: str) -> None:
    (row,) = answer(connection, "from layer_summary")
    heads = [drawn_means(connection, head, quantity, not suffix, 1000) for head in range(2)]
    drawn = np.mean(heads, axis=0).std(ddof=1)
    assert row[f"{quantity}{suffix}_se"] == pytest.approx(drawn, rel=0.15)


NOISE = ("correlation", "slope", "self_repair_p25", "self_repair_p50", "self_repair_p95")


@pytest.mark.parametrize("quantity", NOISE)
def test_errors_of_what_is_no_mean(connection: duckdb.DuckDBPyConnection, quantity: str) -> None:
    for row in answer(connection, "from self_repair_noise where row_set = 'all'"):
        sequence, y = values_of(connection, "self_repair", row["head"], "logit_change")
        _, x = values_of(connection, "self_repair", row["head"], "direct_effect")
        found = []
        for drawn in draws_of(400):
            places = np.repeat(np.arange(len(x)), drawn[sequence])
            found.append(_statistic(quantity, x[places], y[places]))
        assert row[quantity] == pytest.approx(_statistic(quantity, x, y), rel=1e-4)
        assert row[f"{quantity}_se"] == pytest.approx(np.std(found, ddof=1), rel=0.2)


def _statistic(quantity: str, x: np.ndarray, y: np.ndarray) -> float:
    if quantity == "correlation":
        return float(np.corrcoef(x, y)[0, 1])
    if quantity == "slope":
        return float(np.polyfit(x, y, 1)[0])
    return float(np.quantile(x + y, int(quantity[-2:]) / 100))


def test_variance_components() -> None:
    """Documents, sequences in them and tokens in these, each with a spread that is known."""
    random = np.random.default_rng(3)
    document = np.repeat(np.arange(60), random.integers(2, 6, 60))
    n = len(document)
    of_document = 2.0 * random.normal(size=60)[document]
    of_sequence = 1.0 * random.normal(size=n)
    rows, tokens = [], []
    for sequence in range(n):
        for position in range(10):
            change = of_document[sequence] + of_sequence[sequence] + 3.0 * random.normal()
            place = {"sequence": sequence, "position": position}
            rows.append({**place, "logit_change": float(change)})
            tokens.append({**place, "document": int(document[sequence])})
    found = answer(warehouse_of(rows, tokens=tokens), "from self_repair_noise")
    row = next(row for row in found if row["row_set"] == "all")
    assert row["n_clusters"] == 60
    assert row["self_repair_document_sd"] == pytest.approx(2, rel=0.2)
    assert row["self_repair_sequence_sd"] == pytest.approx(1, rel=0.3)
    assert row["self_repair_token_sd"] == pytest.approx(3, rel=0.05)


def test_the_data_would_show_an_error_that_ignores_sequences(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    sequence, value = values_of(connection, "self_repair", 0, "layernorm_ratio")
    independent = value.std(ddof=1) / np.sqrt(len(value))
    assert clustered(sequence, value) > 2 * independent


def test_errors_of_the_hidden_share(connection: duckdb.DuckDBPyConnection) -> None:
    """A ratio of two means over the same sequences: its error knows that both move together."""
    random = np.random.default_rng(2)
    weight = random.multinomial(N_SEQUENCES, np.full(N_SEQUENCES, 1 / N_SEQUENCES), size=4000)
    for row in answer(connection, "from ablation_trust where row_set = 'all'"):
        sequence, hidden = values_of(connection, "self_repair", row["head"], "self_repair")
        _, lost = values_of(connection, "self_repair", row["head"], "direct_effect")
        hidden, lost = (np.bincount(sequence, value, N_SEQUENCES) for value in (hidden, lost))
        assert row["share_hidden"] == pytest.approx(hidden.sum() / lost.sum(), rel=1e-6)
        drawn = ((weight @ hidden) / (weight @ lost)).std(ddof=1)
        assert row["share_hidden_se"] == pytest.approx(drawn, rel=0.15)

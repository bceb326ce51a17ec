"""The clustered standard errors against plain numpy, and against a bootstrap over sequences."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from tests.literal_facts import (
    RUN,
    answer,
    copy_direct_effects,
    fill_stored_results,
    insert_arrow,
    warehouse_of,
)
from warehouse import sql_files

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
    sql_files.create_all(made, comments=False)
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


def bootstrap(per_head: list[tuple[np.ndarray, np.ndarray]], draws: int = 2000) -> float:
    """Standard deviation of the mean of the heads' means over samples of sequences."""
    random = np.random.default_rng(1)
    weight = random.multinomial(N_SEQUENCES, np.full(N_SEQUENCES, 1 / N_SEQUENCES), size=draws)
    means = []
    for sequence, value in per_head:
        totals = np.bincount(sequence, value, N_SEQUENCES)
        counts = np.bincount(sequence, minlength=N_SEQUENCES)
        means.append((weight @ totals) / (weight @ counts))
    return float(np.mean(means, axis=0).std(ddof=1))


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize(
    ("relation", "suffix"), [("self_repair", "_all"), ("top_by_direct_effect", "")]
)
def test_head_errors(
    connection: duckdb.DuckDBPyConnection, quantity: str, relation: str, suffix: str
) -> None:
    column = quantity + suffix
    for row in answer(connection, "from head_summary"):
        sequence, value = values_of(connection, relation, row["head"], quantity)
        assert row[column] == pytest.approx(value.mean(), rel=1e-9)
        assert row[f"{column}_se"] == pytest.approx(clustered(sequence, value), rel=1e-6)
        drawn = bootstrap([(sequence, value)])
        assert row[f"{column}_se"] == pytest.approx(drawn, rel=0.15)


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize(
    ("relation", "suffix"), [("self_repair", "_all"), ("top_by_direct_effect", "")]
)
def test_layer_errors(
    connection: duckdb.DuckDBPyConnection, quantity: str, relation: str, suffix: str
) -> None:
    (row,) = answer(connection, "from layer_summary")
    drawn = bootstrap([values_of(connection, relation, head, quantity) for head in range(2)])
    assert row[f"{quantity}{suffix}_se"] == pytest.approx(drawn, rel=0.15)


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

"""A run of made-up numbers that obeys every rule of the specification, written as shards.

Everything but `logit_change` is drawn at random; `logit_change` is what the identity of section 1
says that it must be. So the warehouse can be tested without a model.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from selfrepair.warehouse.facts.plan import read_plan, write_plan
from selfrepair.warehouse.facts.run_table import RunTable
from selfrepair.warehouse.facts.shards import range_of, shard_fingerprint
from selfrepair.warehouse.paths import Warehouse

Columns = dict[str, NDArray[Any]]
FINGERPRINT = "f" * 64
NEEDED = ("sequences", "tokens", "direct_effects", "mlp_effects", "head_ablations")
"""The tables of a run without details."""
WORDS = np.array([" the", " a", " Bär", '"', "\n", " None", "x'y"])


def run_row(run_id: str = "toy", **changes: Any) -> dict[str, Any]:
    """The row of `runs`: 2 sequential layers of 2 heads, 3 sequences of 5 tokens, 2 ablations."""
    row: dict[str, Any] = {
        "run_id": run_id,
        "model": run_id,
        "revision": None,
        "weights_sha256": "5" * 64,
        "architecture": "ToyForCausalLM",
        "normalization": "LN",
        "parallel_attention": False,
        "post_norm": False,
        "final_cap": None,
        "logit_scale": 1.0,
        "n_layers": 2,
        "n_heads": 2,
        "d_model": 8,
        "d_mlp": 32,
        "d_vocab": len(WORDS),
        "corpus": "toy.txt",
        "sequence_length": 5,
        "n_sequences": 3,
        "sample": "head",
        "drawn_from": "the first 3 sequences, of 3 documents",
        "ablations": ["resample", "zero"],
        "heads": None,
        "precision": "fp32",
        "layer_precision": ["fp32", "fp32"],
        "precision_error": [None, None],
        "engine": "perturbation",
        "device": "cpu",
        "seed": 0,
        "top_fraction": 0.25,
        "center_unembed": True,
        "options": {"reinforcement_scales": "1,3,5", "layers": None, "seed": "0"},
        "versions": {"torch": "2.13.0"},
        "started_at": datetime(2024, 5, 1, 12, tzinfo=UTC),
        "finished_at": datetime(2024, 5, 1, 13, tzinfo=UTC),
    }
    row.update(changes)
    row.setdefault("stopped_by", None)
    row.setdefault("n_sequences_measured", row["n_sequences"])
    row["n_tokens"] = row["n_sequences_measured"] * (row["sequence_length"] - 1)
    return row


def tables(row: dict[str, Any], start: int, stop: int) -> dict[str, Columns]:
    """The facts of sequences `start` to `stop` of a run, per table, in arrays that broadcast.

    Axes: ablation layer head sequence pos. The numbers of a sequence do not depend on the shard.
    """
    rng = np.random.default_rng([row["seed"], start])
    layers, heads, length = row["n_layers"], row["n_heads"], row["sequence_length"]
    ablations = np.array(row["ablations"])
    shape = (len(ablations), layers, heads, stop - start, length - 1)
    sequence, position = np.arange(start, stop), np.arange(length - 1)
    text = np.random.default_rng(row["seed"]).integers(
        row["d_vocab"], size=(row["n_sequences"], length)
    )[start:stop]

    logit = rng.normal(12, 3, shape[3:]).astype("f4")
    bias = rng.normal(0, 0.3, shape[3:]).astype("f4")
    scale = rng.uniform(1, 3, shape[3:]).astype("f4")
    effect = rng.normal(0.5, 1, shape[1:]).astype("f4")
    ablated = rng.normal(0, 0.2, shape).astype("f4")
    scale_ablated = (scale * rng.uniform(0.8, 1.1, shape)).astype("f4")
    from_heads, from_mlps, from_last_mlp = rng.normal(0.1, 0.2, (3, *shape)).astype(
        "f4"
    ) * _downstream(row, shape)
    from_post_norm = row["post_norm"] * rng.normal(0.05, 0.1, shape).astype("f4")
    # Where only the last MLP layer is downstream, all repair from MLPs is the last one's.
    last_only = layers - 2 if row["parallel_attention"] else layers - 1
    from_last_mlp[:, last_only] = from_mlps[:, last_only]
    ratio = scale.astype("f8") / scale_ablated
    before_norm = logit.astype("f8") - bias + (ablated - effect) + from_heads + from_mlps
    before_norm = before_norm + from_post_norm
    logit_change = (ratio * before_norm - logit + bias).astype("f4")

    where = {
        "layer": np.arange(layers)[:, None, None, None],
        "head": np.arange(heads)[:, None, None],
        "sequence": sequence[:, None],
        "position": position,
    }
    layer_only = {name: where[name] for name in ("sequence", "position")}
    return {
        "sequences": {
            "sequence": sequence,
            "resample_partner": (sequence + 1) % row["n_sequences"],
            "document_numbers": [[number] for number in sequence.tolist()],
            "document_names": [[f"text {number}"] for number in sequence.tolist()],
        },
        "tokens": layer_only
        | {
            "token": text[:, :-1],
            "token_text": WORDS[text[:, :-1] % len(WORDS)],
            "target": text[:, 1:],
            "target_text": WORDS[text[:, 1:] % len(WORDS)],
            "logit": logit,
            "logit_bias": bias,
            "ln_scale": scale,
            "document": sequence[:, None],
        },
        "direct_effects": where | {"direct_effect": effect},
        "mlp_effects": layer_only
        | {
            "layer": np.arange(layers)[:, None, None],
            "direct_effect": rng.normal(0, 1, (layers, *shape[3:])).astype("f4"),
        },
        "head_ablations": where
        | {
            "ablation": ablations[:, None, None, None, None],
            "direct_effect": effect,
            "direct_effect_ablated": ablated,
            "logit_change": logit_change,
            "ln_scale": scale,
            "ln_scale_ablated": scale_ablated,
            "self_repair_from_heads": from_heads,
            "self_repair_from_mlps": from_mlps,
            "self_repair_from_last_mlp": from_last_mlp,
            "self_repair_from_post_norm": from_post_norm,
        },
    }


def _downstream(row: dict[str, Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """1 where a layer has anything downstream: [part 1 layer 1 1 1]."""
    mask = np.ones((3, 1, shape[1], 1, 1, 1), dtype="f4")  # parts: heads, mlps, last_mlp
    mask[0, :, -1] = 0  # no attention layer is downstream of the last one
    if row["parallel_attention"]:
        mask[:, :, -1] = 0
    return mask


def write_run(
    warehouse: Warehouse, row: dict[str, Any], shard: int = 2, fingerprint: str = FINGERPRINT
) -> dict[str, list[Path]]:
    """Writes all shards (of `shard` sequences) and manifests of a run; their paths per table."""
    paths: dict[str, list[Path]] = {}
    for start in range(0, row["n_sequences"], shard):
        stop = min(start + shard, row["n_sequences"])
        for table, columns in tables(row, start, stop).items():
            path = RunTable(warehouse, table, row["run_id"]).write(
                start, stop, columns, fingerprint
            )
            paths.setdefault(table, []).append(path)
    for table, written in paths.items():
        planned(RunTable(warehouse, table, row["run_id"]), fingerprint, written)
    return paths


def planned(of_run: RunTable, fingerprint: str, shards: list[Path]) -> dict[str, Any]:
    """Makes shards a table of the run: in its plan, which a real run fixes at its start, and in its
    manifest."""
    ranges = [range_of(path.name) for path in sorted(shards)]
    there = read_plan(of_run.warehouse, of_run.run_id)
    tables = there.tables if there and there.fingerprint == fingerprint else {}
    write_plan(of_run.warehouse, of_run.run_id, fingerprint, tables | {of_run.table: ranges})
    return of_run.write_manifest(fingerprint, shards)


def altered(of_run: RunTable, shard: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Applies `change` to a shard's columns (lists as lists), as if they had been measured so."""
    rows = pq.read_table(shard, partitioning=None)
    columns = {
        field.name: rows[field.name].to_pylist()
        if pa.types.is_list(field.type)
        else rows[field.name].to_numpy().copy()
        for field in rows.schema
    }
    change(columns)
    measured_so(of_run, shard, columns)


def measured_so(of_run: RunTable, shard: Path, columns: Any) -> Path:
    """Puts a shard of other columns in the place of one, as if they had been measured."""
    fingerprint = shard_fingerprint(shard)
    assert fingerprint
    of_run.withdraw([shard])
    new = of_run.write(*range_of(shard.name), columns, fingerprint)
    of_run.write_manifest(fingerprint, of_run.shards())
    return new

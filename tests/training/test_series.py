"""Series of runs over training: which names make one, and the layers' means step by step."""

from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch

import selfrepair
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.publish import publish
from selfrepair.warehouse.sql_created import create_tables
from selfrepair.warehouse.sql_files import relation
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.steps.published import run_row
from selfrepair_assets.steps.run_spec import prepare, start
from selfrepair_assets.steps.sequences import store_sequences
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.step import in_this_process
from tests.helpers.models.families import character_tokenizer, random_model
from tests.helpers.runs.app_runs import page, said, sound
from tests.helpers.runs.asset_runs import write_text
from tests.helpers.runs.literal_facts import RUN, answer, warehouse_of
from tests.helpers.runs.step_runs import measured_by

STEPS = {
    "org/pythia@step0": ("org/pythia", 0),
    "org/pythia@step1000": ("org/pythia", 1000),
    "org/olmo@stage1-step1000-tokens4B": ("org/olmo", 1000),
    "org/olmo@stage1-step20000-tokens84B": ("org/olmo", 20000),
    "/x/tiny@step5": ("/x/tiny", 5),
    "/x/tiny@step10": ("/x/tiny", 10),
    "/runs/my-tiny_Step-7": ("/runs/my-tiny", 7),
    "/runs/my-tiny_Step-8": ("/runs/my-tiny", 8),
    "/runs/a/checkpoint-500": ("/runs/a", 500),
    "/runs/a/checkpoint-1000": ("/runs/a", 1000),
    "/runs/b/global_step3": ("/runs/b", 3),
    "/runs/b/global_step4": ("/runs/b", 4),
}
NONE = [
    "org/pythia",  # the finished model
    "org/alone@step3",
    "org/kilo@step1k",
    "org/kilo@step2k",
    "org/footstep1",
    "org/footstep2",
    "/steps1/a",
    "/steps2/a",
]


def steps_of(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of training_steps, which reads nothing of a run but its row."""
    with duckdb.connect() as connection:
        create_tables(connection)
        for run in runs:
            row = RUN | run
            marks = ", ".join("?" * len(row))
            connection.execute(
                f"insert into runs ({', '.join(row)}) values ({marks})", list(row.values())
            )
        return answer(connection, f"from ({relation('training_steps').body})")


def test_the_names_that_make_a_series() -> None:
    found = steps_of([{"run_id": name} for name in [*STEPS, *NONE]])
    assert {row["run_id"]: (row["series"], row["step"]) for row in found} == STEPS
    assert {row["n_runs"] for row in found} == {2}


def test_two_corpora_are_two_series() -> None:
    names = [(f"m@step{step}", corpus) for corpus in ("a", "b") for step in (1, 2)]
    # A run's name is one, so that the steps of the second corpus are other ones.
    runs = [
        {"run_id": name + ("0" if corpus == "b" else ""), "corpus": corpus}
        for name, corpus in names
    ]
    found = sorted(steps_of(runs), key=lambda row: row["step"])
    assert [(row["series"], row["step"], row["n_runs"]) for row in found] == [
        ("m on a", 1, 2),
        ("m on a", 2, 2),
        ("m on b", 10, 2),
        ("m on b", 20, 2),
    ]


def test_layers_step_by_step() -> None:
    # Two heads of layer 1 with self-repair 1 and 3 at step 10, and 2 and 2 at step 20.
    rows = [
        {"run_id": f"m@step{step}", "layer": 1, "head": head, "logit_change": change}
        for step, changes in ((10, (1.0, 3.0)), (20, (2.0, 2.5)))
        for head, change in enumerate(changes)
    ]
    runs = [{"run_id": f"m@step{step}", "top_fraction": 1.0} for step in (10, 20)]
    found = answer(warehouse_of(rows, runs=runs), "from layers_over_training order by step")
    kept = ("series", "step", "layer", "depth", "n_heads", "n_rows", "self_repair")
    assert [tuple(row[name] for name in kept) for row in found] == [
        ("m", 10, 1, 0.5, 2, 2, pytest.approx(2.0)),
        ("m", 20, 1, 0.5, 2, 2, pytest.approx(2.25)),
    ]


def measure(warehouse: Warehouse, spec: RunSpec) -> None:
    """Measures every head of a model and publishes it, without Dagster around the steps."""
    folder = RunFolder(warehouse, spec.run_id)
    start(folder, prepare(spec))
    store_sequences(folder)
    measured_by(in_this_process, folder)
    publish(warehouse, run_row(folder))


def test_four_revisions_of_one_model_are_found_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Local folders of one small random model, perturbed a little more at each step."""
    text = write_text(tmp_path / "text.txt")
    torch.manual_seed(0)
    model = random_model("gpt2")
    for step in (0, 10, 200, 1000):
        folder = tmp_path / f"tiny@step{step}"
        model.save_pretrained(folder)
        character_tokenizer(prepend_bos=False).save_pretrained(folder)
        measure(
            Warehouse(tmp_path / "data"),
            RunSpec(
                model=str(folder), corpus=str(text), tokens=48, sequence_length=12,
                ablations=("resample",), top_fraction=0.25, shard_sequences=4,
                reinforcement_scales=(1.0,),
            ),
        )  # fmt: skip
        with torch.no_grad():
            for weights in model.parameters():
                weights.add_(0.1 * weights.std() * torch.randn_like(weights))
    warehouse = selfrepair.open(tmp_path / "data")
    series = str(tmp_path / "tiny")
    steps = warehouse.sql("from training_steps order by step")
    assert list(steps["step"]) == [0, 10, 200, 1000]
    assert set(steps["series"]) == {series}

    last = f"{series}@step1000"
    chart = warehouse.figure("6, over training", last)
    layers = {
        int(trace.marker.color[0]): trace for trace in chart.data if trace.marker.color is not None
    }
    means = warehouse.layers(f"{series}@step200").set_index("layer")
    assert set(layers) == set(means.index)
    for layer, trace in layers.items():
        assert list(trace.x) == ["0", "10", "200", "1,000"]
        assert trace.y[2] == means["self_repair_from_layernorm"][layer]
        assert trace.error_y.array[2] == means["self_repair_from_layernorm_se"][layer]
        assert len(set(trace.y)) == 4
    saved = warehouse.save_figure("11, over training", last, output=tmp_path / "figures")
    assert "tiny, 4 steps." in saved[2].read_text()
    assert saved[1].name == "tiny@step1000_resample_figure-11-over-training_column.pdf"

    shown = sound(page(tmp_path / "data", "across_models", monkeypatch))
    assert "Over training" in said(shown)
    assert "4 steps: 0, 10, 200, 1,000" in said(shown)
    assert "Figure 1, over training: Self-repair per layer, step by step of training" in said(shown)

"""The Dagster assets: a model is materialized from its name to its views, twice, and disturbed."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from selfrepair.dagster_project.cli.summary import print_summary
from selfrepair.warehouse.errors import WarehouseError
from selfrepair.warehouse.facts.tables import fact_tables
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import current_generation, open_serving
from selfrepair.warehouse.sql_files import relations
from selfrepair_assets.steps.published import publish_run
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from tests.helpers.models.families import save
from tests.helpers.runs.asset_runs import (
    FACTS,
    LENGTH,
    SEQUENCES,
    by_neuron,
    changed,
    materializations,
    materialize,
    measured,
    published,
    same,
)

ABLATIONS = ("resample", "mean", "zero")
POSITIONS = LENGTH - 1


@dataclass
class Twice:
    """One model, materialized twice in a warehouse: what Dagster and the tables said each time."""

    root: Path
    model: Path
    results: list[dg.ExecuteInProcessResult]
    tables: list[dict[str, list[tuple[Any, ...]]]]
    inodes: list[dict[str, int]]


@pytest.fixture(scope="module")
def twice(
    gpt2: Path, tmp_path_factory: pytest.TempPathFactory, instance: dg.DagsterInstance
) -> Twice:
    """A sequential model under all ablations, one sequence at a time, in four shards."""
    made = Twice(tmp_path_factory.mktemp("twice"), gpt2, [], [], [])
    for _ in range(2):
        result = materialize(
            made.root, made.model, instance, ablations=ABLATIONS, batch_size=1, shard_sequences=3
        )
        assert result.success
        made.results.append(result)
        made.tables.append(published(made.root))
        shards = sorted((made.root / "facts").rglob("*.parquet"))
        made.inodes.append({str(path): path.stat().st_ino for path in shards})
    return made


def test_the_same_rows_twice(twice: Twice) -> None:
    first, second = twice.tables
    assert set(first) == {*fact_tables(), "runs"}
    for table in first:
        assert first[table] == second[table], table
        assert first[table], f"{table} is empty"
    assert len(first["tokens"]) == SEQUENCES * POSITIONS
    assert len(first["head_ablations"]) == 3 * 12 * SEQUENCES * POSITIONS
    assert twice.inodes[0] == twice.inodes[1], "a finished shard was written again"
    assert current_generation(Warehouse(twice.root)) == 2


def test_heads_are_measured_before_self_reinforcement(twice: Twice) -> None:
    """So that the first numbers of a run come early."""
    begun = [
        event.step_key or ""
        for event in twice.results[0].all_events
        if event.event_type_value == "STEP_START"
    ]
    heads = [n for n, step in enumerate(begun) if "measure_shard" in step]
    assert len(heads) == SEQUENCES // 3
    assert max(heads) < begun.index("self_reinforcement")


def test_every_asset_says_what_it_is(twice: Twice, instance: dg.DagsterInstance) -> None:
    from selfrepair.dagster_project.definitions import defs

    said = materializations(twice.results[0])
    graph = defs.resolve_asset_graph()
    answers = {one.name for one in relations() if one.kind in ("stored", "view")}
    assert set(said) == {key.to_user_string() for key in graph.get_all_asset_keys()} - answers
    groups = {"run", "clean_run", "ablations", "published", "stored_results", "views"}
    with open_serving(Warehouse(twice.root)) as connection:
        for key in graph.get_all_asset_keys():
            name, node = key.to_user_string(), graph.get(key)
            description = (node.description or "").strip()
            assert description.startswith("One r"), f"{name}: {description[:50]!r}"
            assert node.group_name in groups
            assert node.is_executable == (name not in answers), name
            assert node.kinds, name
            if name == "run_spec":
                continue
            metadata = dict(node.metadata) | said.get(name, {})
            columns = metadata.get("dagster/column_schema")
            assert columns is not None, f"{name} has no column schema"
            schema = getattr(columns, "schema", columns)
            served = [row[0] for row in connection.execute(f"describe {name}").fetchall()]
            assert [column.name for column in schema.columns] == served, name
            assert all(column.description for column in schema.columns), name
            if name in answers:
                types = [row[1] for row in connection.execute(f"describe {name}").fetchall()]
                assert [column.type for column in schema.columns] == types, name
                continue
            counted = connection.execute(f"select count(*) from {name}").fetchone()
            assert counted is not None
            assert said[name]["dagster/row_count"].value == counted[0], name
        rows = said["runs"]["stored_results"].value
        for name in (one.name for one in relations() if one.kind == "stored"):
            counted = connection.execute(f"select count(*) from {name}").fetchone()
            assert counted is not None
            assert f"| {name} | {counted[0]} |" in rows


def test_pictures_are_pictures(twice: Twice) -> None:
    said = materializations(twice.results[0])
    for name in ("direct_effects", "head_ablations"):
        assert "data:image/png;base64," in said[name]["picture"].value
    assert "| layer |" in said["tokens"]["first_rows"].value.replace("sequence", "layer")


def test_all_checks_are_made_and_green(twice: Twice) -> None:
    checks = {found.name for found in relations() if found.kind == "check"}
    for result in twice.results:
        made = result.get_asset_check_evaluations()
        assert {one.check_name for one in made} == checks
        assert all(one.passed for one in made)
        order = [e.step_key for e in result.all_events if e.event_type_value == "STEP_SUCCESS"]
        assert max(order.index("checks"), order.index("checks_of_closer_looks")) < order.index(
            "runs"
        )
    # Publishing did not have to check again what the asset checks had seen.
    folder = RunFolder(Warehouse(twice.root), str(twice.model))
    noted = folder.noted("checks")
    assert noted is not None
    assert set(noted) == checks


def test_details_sum_to_the_facts(twice: Twice) -> None:
    with open_serving(Warehouse(twice.root)) as connection:
        n_kept = 12 * int(0.1 * SEQUENCES * POSITIONS)
        counted, worst_heads, worst_mlps = connection.execute(
            """
            select
                count(*),
                max(abs(list_sum(head_changes) - self_repair_from_heads)),
                max(abs(list_sum(mlp_changes) - self_repair_from_mlps))
            from component_changes
            join head_ablations using (run_id, ablation, layer, head, sequence, position)
            """
        ).fetchone() or (0, 1, 1)
        assert counted == 3 * n_kept
        assert worst_heads < 1e-5
        assert worst_mlps < 1e-5
        neurons, worst, clean = connection.execute(
            """
            select
                count(*),
                max(abs(
                    list_sum(direct_effects_ablated) - list_sum(direct_effects)
                    - self_repair_from_last_mlp
                )),
                max(len(direct_effects))
            from neuron_changes
            join head_ablations using (run_id, ablation, layer, head, sequence, position)
            """
        ).fetchone() or (0, 1, 0)
        assert neurons >= 3 * 4 * (n_kept // 12)
        assert worst < 1e-5
        assert clean == 128
        net, repaired = connection.execute(
            """
            select max(abs(net_change - self_repair_from_last_mlp)), count(*)
            from neuron_repairs
            join head_ablations using (run_id, ablation, layer, head, sequence, position)
            """
        ).fetchone() or (1, 0)
        assert net < 1e-5
        assert repaired == 3 * n_kept


def test_an_altered_value_stops_publishing(
    twice: Twice, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    root = tmp_path / "warehouse"
    shutil.copytree(twice.root, root, symlinks=True)
    where = changed(root, twice.model, 0.01)
    result = materialize(
        root, twice.model, instance, ablations=ABLATIONS, batch_size=1, shard_sequences=3
    )
    assert not result.success
    failed = [one for one in result.get_asset_check_evaluations() if not one.passed]
    assert [one.check_name for one in failed] == ["decomposition_identity"]
    assert failed[0].blocking
    assert failed[0].metadata["offending_rows"].value == 1
    shown = str(failed[0].metadata["first_offending_rows"].value).splitlines()
    row = dict(zip(shown[0].split(" | "), shown[2].split(" | "), strict=True))
    assert {k: int(row[k]) for k in where} == where
    done = {e.step_key for e in result.all_events if e.event_type_value == "STEP_SUCCESS"}
    assert "runs" not in done
    assert current_generation(Warehouse(root)) == 2
    place = ", ".join(f"{name} {value}" for name, value in where.items())
    line = rf"decomposition_identity, at .*{place}, .* \(in .*/sequences-\d+-\d+\.\w+\.parquet\)"
    with pytest.raises(WarehouseError, match=line):
        publish_run(RunFolder(Warehouse(root), str(twice.model)))
    assert current_generation(Warehouse(root)) == 2


def test_batches_and_shards_do_not_change_the_values(
    twice: Twice, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    expected = measured(twice.root, twice.model)
    expected["neuron_repairs"] = by_neuron(expected["neuron_repairs"])
    for batch, shard in ((3, 5), (None, None)):
        root = tmp_path / f"batch-{batch}"
        result = materialize(
            root,
            twice.model,
            instance,
            FACTS,
            ablations=ABLATIONS,
            batch_size=batch,
            shard_sequences=shard,
        )
        assert result.success
        found = measured(root, twice.model)
        found["neuron_repairs"] = by_neuron(found["neuron_repairs"])
        assert set(found) == set(expected)
        for table, columns in expected.items():
            for name, values in columns.items():
                same(found[table][name], values, f"{table}.{name}, batch {batch}")


def test_some_heads_of_a_parallel_model(
    gpt2_folder: Path,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = save("gpt_neox", tmp_path / "gpt_neox")
    root = tmp_path / "warehouse"
    result = materialize(
        root,
        model,
        instance,
        corpus=str(gpt2_folder / "text.txt"),
        ablations=("mean", "zero"),
        layers="1:",
        heads="L1H0,L2H3",
        top_fraction=0.006,
    )
    assert result.success
    assert all(one.passed for one in result.get_asset_check_evaluations())
    with open_serving(Warehouse(root)) as connection:
        assert connection.execute(
            "select layer, head, count(*) from head_ablations group by all order by all"
        ).fetchall() == [(1, 0, 2 * SEQUENCES * POSITIONS), (2, 3, 2 * SEQUENCES * POSITIONS)]
        assert connection.execute("select heads, parallel_attention from runs").fetchall() == [
            (["L1H0", "L2H3"], True)
        ]
        # Of every head the clean run is there; nothing is downstream of a parallel last layer.
        assert connection.execute(
            "select count(distinct (layer, head)) from direct_effects"
        ).fetchall() == [(12,)]
        assert connection.execute(
            """
            select max(abs(self_repair_from_heads)), max(abs(self_repair_from_mlps))
            from head_ablations
            where layer = 2
            """
        ).fetchall() == [(0, 0)]
        assert connection.execute("select count(*) from head_summary").fetchall() == [(4,)]
    capsys.readouterr()
    print_summary(Warehouse(root), str(model), 1.0)
    said = capsys.readouterr().out
    assert "top 0.6 % tokens" in said
    assert "±     -" in said, "one row a head has no standard error"


def test_a_mistake_ends_the_run_without_retry_and_without_traces(
    gpt2: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    root = tmp_path / "warehouse"
    result = materialize(root, gpt2, instance, heads="L9H9")
    assert not result.success
    [failure] = [e for e in result.all_events if e.event_type_value == "STEP_FAILURE"]
    assert failure.step_key == "run_spec"
    assert "There is no head L9H9" in str(failure.step_failure_data.user_failure_data)
    assert not root.exists()

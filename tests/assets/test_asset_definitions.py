"""What Dagster is told before anything runs: lineage, checks, pools, settings."""

import json
from pathlib import Path

import dagster as dg

from selfrepair.warehouse.facts.tables import facts_read
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.sql_files import relations
from selfrepair_assets.measurement.run_spec import OPTIONS, RunSpec
from selfrepair_assets.steps.clean_run import CLEAN_RUN
from selfrepair_assets.steps.head_ablations import HEAD_ABLATIONS


def test_views_have_the_lineage_of_their_sql() -> None:
    from selfrepair.dagster_project.definitions import defs

    graph = defs.resolve_asset_graph()
    known = {found.name: found for found in relations()}
    assets = {key.to_user_string() for key in graph.get_all_asset_keys()}

    def read(name: str) -> set[str]:
        direct = set(known[name].upstream)
        macros = {n for n in direct if known[n].kind == "macro"}
        return (direct - macros).union(*(read(macro) for macro in macros))

    shown = [found.name for found in relations() if found.kind in ("stored", "view")]
    for name in shown:
        parents = {k.to_user_string() for k in graph.get(dg.AssetKey(name)).parent_keys}
        assert parents == (read(name) & assets) | {"runs"}, name
    assert {"head_ablations", "top_rows"} & read("top_by_direct_effect")


def test_every_check_waits_for_the_facts_that_it_reads() -> None:
    from selfrepair.dagster_project.definitions import defs

    graph = defs.resolve_asset_graph()
    for found in relations():
        if found.kind != "check":
            continue
        [key] = [k for k in graph.asset_check_keys if k.name == found.name]
        waits = {key.asset_key} | {
            dep.asset_key for dep in graph.get_check_spec(key).additional_deps
        }
        before = waits.union(*(graph.get_ancestor_asset_keys(k) for k in waits))
        names = {k.to_user_string() for k in before}
        for step in (CLEAN_RUN, HEAD_ABLATIONS):
            names |= set(step.tables) if names & set(step.tables) else set()
        assert facts_read(found.name) <= names, found.name
        assert graph.get_check_spec(key).blocking


def test_definitions_pools_and_settings(tmp_path: Path) -> None:
    from selfrepair.dagster_project.definitions import defs
    from selfrepair.dagster_project.instance import dagster_home

    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    pools = {key.to_user_string(): graph.get(key).pools for key in graph.get_all_asset_keys()}
    for name in ("tokens", "head_ablations", "neuron_changes", "self_reinforcement"):
        assert pools[name] == {"gpu"}, name
    assert pools["runs"] == {"publish"}
    home = dagster_home(Warehouse(tmp_path / "warehouse"))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert not instance.telemetry_enabled
        settings = instance.get_concurrency_config()
        assert settings.pool_config.default_pool_limit == 1
        assert instance.run_monitoring_enabled
        monitoring = json.loads(json.dumps(instance.get_settings("run_monitoring")))
        assert monitoring["free_slots_after_run_end_seconds"] <= 60
    assert not list(home.glob("*.tmp-*"))


def test_the_launchpad_lists_every_option_and_the_empty_ones_are_left_to_us() -> None:
    from selfrepair_assets.assets.run_spec import RunSpecConfig, launchpad_config

    fields = RunSpecConfig.model_fields
    assert set(fields) == {*OPTIONS, "restart"} - {"model", "revision"}
    for name in set(fields) - {"restart"}:
        assert str(fields[name].description).startswith(OPTIONS[name].help), name
    config = RunSpecConfig.model_validate({})
    assert None not in config.model_dump().values()
    assert config.spec("some-model") == RunSpec(model="some-model")
    choices = {"layers": "1:3", "batch_size": 7, "seed": 0, "text_column": None}
    chosen = RunSpecConfig.model_validate(choices)
    assert chosen.spec("m@v2") == RunSpec(model="m", revision="v2", layers="1:3", batch_size=7)
    asked = launchpad_config(chosen.spec("m@v2"), restart=True)
    assert RunSpecConfig.model_validate(asked).spec("m@v2") == chosen.spec("m@v2")
    assert asked["restart"] is True

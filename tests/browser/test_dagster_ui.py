"""A model is added and measured through the Dagster web server alone, and looked at there."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from selfrepair.warehouse.sql_files import relations
from tests.browser.visit import Visit, free_port, serving
from tests.helpers.runs.asset_runs import LENGTH, SEQUENCES

REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "selfrepair"}
ADD = """
mutation ($where: RepositorySelector!, $model: String!) {
  addDynamicPartition(
    repositorySelector: $where, partitionsDefName: "model", partitionKey: $model
  ) { __typename ... on PythonError { message } ... on UnauthorizedError { message } }
}
"""
LAUNCH = """
mutation ($run: ExecutionParams!) {
  launchRun(executionParams: $run) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message }
  }
}
"""
STATUS = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
CHECKS = """
{
  assetNodes { assetKey { path } assetChecksOrError { ... on AssetChecks { checks {
    name executionForLatestMaterialization { status }
  } } } }
}
"""
DEFAULTS = """
query ($job: PipelineSelector!) {
  runConfigSchemaOrError(selector: $job) { ... on RunConfigSchema { rootDefaultYaml } }
}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dagster") / "data"


@pytest.fixture(scope="module")
def address(root: Path) -> Iterator[str]:
    port = free_port()
    command = ["-m", "selfrepair", "dagster", "--port", str(port)]
    with serving(command, root, f"http://localhost:{port}/server_info", seconds=120):
        yield f"http://localhost:{port}"


def ask(address: str, query: str, **variables: Any) -> Any:
    """The answer of the web server's GraphQL, without the outermost name."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{address}/graphql", body, headers), timeout=60
    ) as response:
        answer = json.load(response)
    assert "errors" not in answer, answer["errors"]
    [found] = answer["data"].values()
    return found


def test_a_model_is_added_and_measured_through_the_web_server(
    address: str, root: Path, gpt2_folder: Path, visit: Visit
) -> None:
    model, job = str(gpt2_folder / "gpt2"), {**REPOSITORY, "pipelineName": "measure_model"}
    offered = ask(address, DEFAULTS, job=job)["rootDefaultYaml"]
    for option in ("corpus", "tokens", "layers", "heads", "batch_size", "neuron_heads", "restart"):
        assert f"{option}:" in offered

    choices = {
        "corpus": str(gpt2_folder / "text.txt"),
        "tokens": SEQUENCES * LENGTH,
        "sequence_length": LENGTH,
        "top_fraction": 0.1,
    }
    run_id = launched(address, model, choices)
    assert ended(address, run_id) == "SUCCESS"

    with open_serving(Warehouse(root)) as connection:
        assert connection.execute("select run_id from runs").fetchall() == [(model,)]
    outcomes = {
        check["name"]: (check["executionForLatestMaterialization"] or {}).get("status")
        for node in ask(address, CHECKS)
        for check in node["assetChecksOrError"].get("checks", [])
    }
    assert outcomes == {r.name: "SUCCEEDED" for r in relations() if r.kind == "check"}

    visit.page.goto(f"{address}/runs/{run_id}")
    visit.page.get_by_text("Success").first.wait_for()
    visit.page.goto(f"{address}/assets/head_ablations")
    visit.page.get_by_text("One row per ablation").first.wait_for()
    visit.page.goto(f"{address}/assets/self_repair?view=lineage")
    visit.page.get_by_text("head_ablations").first.wait_for()
    assert visit.errors == []


def test_the_way_of_the_docs_leads_to_every_option(address: str, visit: Visit) -> None:
    """docs/models.md, "From the UI", up to the last click."""
    page = visit.page
    page.goto(f"{address}/jobs")
    page.get_by_role("link", name="measure_model").click()
    whole = page.get_by_role("button", name="Materialize all…")
    whole.locator("xpath=following::button[1]").click()
    page.get_by_text("Open launchpad").click()
    page.get_by_role("button", name="Add new partition").click()
    page.get_by_placeholder("name").fill("smollm2-135m-instruct")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("partition: smollm2-135m-instruct").wait_for()
    page.locator(".CodeMirror-line", has_text="python-docs").click()
    page.get_by_text("The dataset's column of text.").wait_for()
    page.get_by_text("Materialize", exact=True).wait_for()


def launched(address: str, model: str, choices: dict[str, Any]) -> str:
    """Adds a model as a partition and launches `measure_model` for it; the Dagster run's id."""
    added = ask(address, ADD, where=REPOSITORY, model=model)
    assert added["__typename"] == "AddDynamicPartitionSuccess", added
    answer = ask(
        address,
        LAUNCH,
        run={
            "selector": {**REPOSITORY, "pipelineName": "measure_model"},
            "runConfigData": {"ops": {"run_spec": {"config": choices}}},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": model}]},
        },
    )
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def ended(address: str, run_id: str, within: int = 300) -> str:
    """How a run ends."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        status = str(ask(address, STATUS, id=run_id)["status"])
        if status in ("SUCCESS", "FAILURE", "CANCELED"):
            return status
        time.sleep(1)
    raise TimeoutError(f"run {run_id} is {status} after {within} s")

"""The example for Kubernetes: Dagster takes its settings, Kubernetes' own classes take the rest."""

import re
import tomllib
from pathlib import Path
from typing import Any

import click
import dagster_k8s
import kubernetes.client.models
import pytest
import yaml
from dagster._cli import create_dagster_cli
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance import InstanceRef
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_k8s.job import DagsterK8sJobConfig, construct_dagster_k8s_job
from dagster_k8s.job import UserDefinedDagsterK8sConfig as PodConfig
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict
from dagster_webserver.cli import create_dagster_webserver_cli

from selfrepair.dagster_project.slots import POOLS

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "kubernetes"
OBJECTS = list(yaml.safe_load_all((EXAMPLE / "cluster.yaml").read_text()))
COMMANDS = {
    "dagster": create_dagster_cli,
    "dagster-daemon": create_dagster_daemon_cli,
    "dagster-webserver": create_dagster_webserver_cli,
}


@pytest.fixture
def ref(monkeypatch: pytest.MonkeyPatch) -> InstanceRef:
    """The settings as Dagster reads them; it refuses a key that it does not know."""
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "secret")
    return InstanceRef.from_dir(str(EXAMPLE))


def launcher_config(ref: InstanceRef) -> dict[str, Any]:
    """The run launcher's settings, looked at by its own schema."""
    data = ref.run_launcher_data
    assert data is not None
    assert (data.module_name, data.class_name) == ("dagster_k8s", "K8sRunLauncher")
    schema = resolve_to_config_type(dagster_k8s.K8sRunLauncher.config_type())
    found = process_config(schema, yaml.safe_load(data.config_yaml))
    assert found.success, found.errors
    return dict(found.value or {})


def test_history_is_in_postgres_and_pools_are_as_on_one_machine(ref: InstanceRef) -> None:
    assert ref.storage_data is not None
    assert ref.storage_data.class_name == "DagsterPostgresStorage"
    ours = yaml.safe_load((ROOT / "dagster_project" / "dagster.yaml").read_text())
    assert POOLS == ("gpu", "publish")
    for name in ("concurrency", "run_monitoring", "telemetry"):
        assert ref.settings[name] == ours[name], name


def test_a_run_gets_a_pod_with_gpus_the_warehouse_and_room_for_ray(ref: InstanceRef) -> None:
    config = launcher_config(ref)
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(
            job_image=config["job_image"],
            dagster_home=config["dagster_home"],
            instance_config_map=config["instance_config_map"],
            postgres_password_secret=config["postgres_password_secret"],
            env_vars=config["env_vars"],
        ),
        ["dagster", "api", "execute_run"],
        "run",
        user_defined_k8s_config=PodConfig.from_dict(config["run_k8s_config"]),
    ).to_dict()
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["mount_path"]: mount["name"] for mount in container["volume_mounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environment["SELFREPAIR_WAREHOUSE"] in mounts
    assert volumes["warehouse"]["persistent_volume_claim"]["claim_name"] == "warehouse"
    assert volumes[mounts["/dev/shm"]]["empty_dir"]["medium"] == "Memory"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"
    assert job["spec"]["backoff_limit"] == 0


def named(kind: str) -> dict[str, dict[str, Any]]:
    """The objects of a kind in cluster.yaml, and the maps that kustomization.yaml makes."""
    found = {o["metadata"]["name"]: o for o in OBJECTS if o["kind"] == kind}
    assert found or kind == "ConfigMap"
    if kind == "ConfigMap":
        settings = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text())
        found = {entry["name"]: entry for entry in settings["configMapGenerator"]}
    return found


@pytest.mark.parametrize(
    "found", OBJECTS, ids=[f"{o['kind']} {o['metadata']['name']}" for o in OBJECTS]
)
def test_kubernetes_classes_know_every_key(found: dict[str, Any]) -> None:
    """They refuse a key that is not theirs, and the lack of one that must be there."""
    model = getattr(kubernetes.client.models, f"V1{found['kind']}")
    made = k8s_model_from_dict(model, k8s_snake_case_dict(model, found))
    assert made.metadata.name


def test_kustomization_names_files_that_there_are() -> None:
    settings = yaml.safe_load((EXAMPLE / "kustomization.yaml").read_text())
    assert set(settings) == {
        *("apiVersion", "kind", "namespace", "resources", "configMapGenerator", "generatorOptions")
    }
    files = [*settings["resources"]]
    files += [file for entry in settings["configMapGenerator"] for file in entry["files"]]
    assert {path.name for path in EXAMPLE.iterdir()} == {*files, "Dockerfile", "kustomization.yaml"}
    assert settings["namespace"] in named("Namespace")


@pytest.mark.parametrize("name", named("Deployment"))
def test_what_a_deployment_names_is_there(name: str) -> None:
    deployment = named("Deployment")[name]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    pod = deployment["spec"]["template"]["spec"]
    assert pod.get("serviceAccountName", "dagster") in named("ServiceAccount")
    for volume in pod.get("volumes", []):
        if "configMap" in volume:
            assert volume["configMap"]["name"] in named("ConfigMap")
        else:
            claim = volume["persistentVolumeClaim"]["claimName"]
            assert claim in named("PersistentVolumeClaim")
    (container,) = pod["containers"]
    volumes = {volume["name"] for volume in pod.get("volumes", [])}
    assert {mount["name"] for mount in container.get("volumeMounts", [])} == volumes
    for variable in container.get("env", []):
        if "valueFrom" in variable:
            key = variable["valueFrom"]["secretKeyRef"]
            assert key["key"] in named("Secret")[key["name"]]["stringData"]
    ports = [port["containerPort"] for port in container.get("ports", [])]
    if ports:
        service = named("Service")[name]
        assert service["spec"]["selector"] == labels
        assert [port["port"] for port in service["spec"]["ports"]] == ports


@pytest.mark.parametrize("name", named("Deployment"))
def test_a_deployment_s_command_is_one_that_dagster_knows(name: str) -> None:
    (container,) = named("Deployment")[name]["spec"]["template"]["spec"]["containers"]
    words = container.get("command", [])
    if name == "postgres":
        assert not words
        return
    command: click.Command = COMMANDS[words[0]]()
    rest = words[1:]
    while isinstance(command, click.Group):
        command = command.commands[rest.pop(0)]
    found = command.make_context(words[0], list(rest), resilient_parsing=True).params
    port = found.get("port") or found.get("grpc_port")
    ports = [entry["containerPort"] for entry in container.get("ports", [])]
    assert ports == ([int(port)] if port else [])


def test_settings_and_objects_name_the_same(ref: InstanceRef) -> None:
    config = launcher_config(ref)
    assert config["job_namespace"] in named("Namespace")
    assert config["service_account_name"] in named("ServiceAccount")
    assert config["instance_config_map"] in named("ConfigMap")
    secret = named("Secret")[config["postgres_password_secret"]]
    assert "postgresql-password" in secret["stringData"]
    pod = config["run_k8s_config"]["pod_spec_config"]
    claims = {
        volume["persistent_volume_claim"]["claim_name"]
        for volume in pod["volumes"]
        if "persistent_volume_claim" in volume
    }
    assert claims <= set(named("PersistentVolumeClaim"))
    assert ref.storage_data is not None
    storage = yaml.safe_load(ref.storage_data.config_yaml)["postgres_db"]
    (postgres,) = named("Deployment")["postgres"]["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in postgres["env"]}
    assert storage["hostname"] in named("Service")
    assert storage["username"] == environment["POSTGRES_USER"]
    assert storage["db_name"] == environment["POSTGRES_DB"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = re.findall(r"\S+/selfrepair:\S+", "".join(p.read_text() for p in EXAMPLE.iterdir()))
    assert set(images) == {config["job_image"]}
    assert config["job_image"].endswith(f":{version}")


def test_the_code_location_is_served_as_the_workspace_says() -> None:
    (entry,) = yaml.safe_load((EXAMPLE / "workspace.yaml").read_text())["load_from"]
    server = entry["grpc_server"]
    ports = named("Service")[server["host"]]["spec"]["ports"]
    assert [port["port"] for port in ports] == [server["port"]]
    spec = named("Deployment")[server["host"]]["spec"]["template"]["spec"]
    words = spec["containers"][0]["command"]
    module = __import__(words[words.index("--module-name") + 1], fromlist=["defs"])
    assert module.defs.resolve_job_def("measure_model")


def test_the_image_installs_extras_that_there_are() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = re.search(r"/src\[([a-z,]+)\]", (EXAMPLE / "Dockerfile").read_text())
    assert wanted is not None
    assert set(wanted[1].split(",")) <= set(extras["optional-dependencies"])

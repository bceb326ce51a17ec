"""Who measures: how many workers, where each is placed, and what is refused."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import torch

from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.engine.measure import Progress
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard
from selfrepair_assets.steps.sharded.step import Executor, Step, in_this_process
from selfrepair_assets.steps.workers import deployment
from selfrepair_assets.steps.workers.deployment import Workers
from selfrepair_assets.steps.workers.ray_workers import places
from tests.helpers.runs.asset_runs import FACTS, materialize
from tests.helpers.runs.step_runs import shard_names


def has_ray(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(deployment, "find_spec", lambda name: object() if there else None)


def has_gpus(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)


def test_one_worker_on_a_cpu_is_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    has_ray(monkeypatch, False)
    has_gpus(monkeypatch, 0)
    for number in (None, 1):
        with Workers(number).executor("auto") as execute:
            assert execute is in_this_process


@pytest.mark.parametrize(
    ("gpus", "device", "here"),
    [
        (0, "auto", True),
        (1, "auto", True),
        (2, "auto", False),
        (2, "cpu", True),
        (2, "cuda:1", True),
    ],
)
def test_by_default_there_is_a_worker_on_each_gpu(
    monkeypatch: pytest.MonkeyPatch, gpus: int, device: str, here: bool
) -> None:
    has_ray(monkeypatch, True)
    has_gpus(monkeypatch, gpus)
    assert Workers().is_this_process(device) is here
    assert not Workers(2).is_this_process("cpu")
    assert not Workers(ray_address="10.0.0.1:6379").is_this_process("cpu")


def test_without_ray_two_workers_are_refused_and_two_gpus_are_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    has_ray(monkeypatch, False)
    has_gpus(monkeypatch, 2)
    with pytest.raises(InputError, match=r"pip install 'selfrepair\[cluster\]'"):
        Workers(2).is_this_process("auto")
    assert Workers().is_this_process("auto")
    assert "2 GPUs are here and one measures" in caplog.text


def test_one_named_gpu_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    has_ray(monkeypatch, True)
    with pytest.raises(InputError, match="--device cuda:1 is one device"):
        Workers(2).is_this_process("cuda:1")


def test_the_deployment_sets_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(deployment.NUMBER, "3")
    monkeypatch.setenv(deployment.ADDRESS, "10.0.0.1:6379")
    assert Workers.of_deployment() == Workers(3, "10.0.0.1:6379")
    assert Workers.of_deployment(2, "auto") == Workers(2, "auto")
    for text in ("0", "two", "-1", "²", "4097", "9" * 23, "9" * 5000):
        monkeypatch.setenv(deployment.NUMBER, text)
        with pytest.raises(InputError, match="1 to 4096, not"):
            Workers.of_deployment()
    monkeypatch.setenv(deployment.NUMBER, "")
    monkeypatch.setenv(deployment.ADDRESS, "")
    assert Workers.of_deployment() == Workers()


def test_a_place_for_each_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    four, sixteen, gpus = {"CPU": 4.0}, {"CPU": 16.0}, {"CPU": 16.0, "GPU": 4.0}
    on_gpu = {"num_gpus": 1, "num_cpus": 1}
    assert places([sixteen], 2, "cpu") == (2, 8, {"num_cpus": 8, "num_gpus": 0})
    assert places([four, sixteen], 2, "auto") == (2, 8, {"num_cpus": 8, "num_gpus": 0})
    assert places([four, sixteen], 3, "cpu") == (3, 5, {"num_cpus": 5, "num_gpus": 0})
    assert places([four, four], None, "cpu") == (2, 4, {"num_cpus": 4, "num_gpus": 0})
    assert places([four, gpus], None, "auto") == (4, 1, on_gpu)
    assert places([gpus, gpus], 3, "cuda") == (3, 1, on_gpu)
    for nodes, number, device in (
        ([four], 5, "cpu"),
        ([gpus], 5, "auto"),
        ([four], None, "cuda"),
        ([], 1, "cpu"),
        ([], None, "cpu"),
        ([four], 10**12, "cpu"),
    ):
        with pytest.raises(InputError, match=r"and Ray has \d+"):
            places(nodes, number, device)


def test_the_command_refuses_workers_without_ray_before_it_writes(
    monkeypatch: pytest.MonkeyPatch, selfrepair: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    has_ray(monkeypatch, False)
    code, _, said = selfrepair("run", "no-model", "--workers", 2, "--warehouse", tmp_path / "none")
    assert code == 2
    assert said.splitlines()[-1].startswith("error: Workers need Ray")
    assert not (tmp_path / "none").exists()
    assert selfrepair("run", "no-model", "--workers", 0)[0] == 2


def test_assets_give_each_step_s_shards_to_the_same_workers_at_once(
    monkeypatch: pytest.MonkeyPatch, gpt2_folder: Path, tmp_path: Path
) -> None:
    """As the Dagster UI does where the deployment sets the number of workers."""
    asked: list[tuple[str, int]] = []
    hired: list[Workers] = []

    def together(
        step: Step, folder: RunFolder, shards: Sequence[Shard], progress: Progress
    ) -> Iterator[Shard]:
        if shards:
            asked.append((step.title.split()[0], len(shards)))
        yield from in_this_process(step, folder, shards[::-1], progress)

    @contextmanager
    def executor(self: Workers, device: str) -> Iterator[Executor]:
        hired.append(self)
        yield together
        hired.append(self)

    with dg.DagsterInstance.ephemeral() as instance:
        assert materialize(tmp_path / "one", gpt2_folder / "gpt2", instance, FACTS).success
        monkeypatch.setattr(Workers, "executor", executor)
        monkeypatch.setenv(deployment.NUMBER, "2")
        assert materialize(tmp_path / "two", gpt2_folder / "gpt2", instance, FACTS).success
    assert hired == [Workers(2), Workers(2)], "hired once, and let go"
    n_shards = len(RunFolder(Warehouse(tmp_path / "two"), str(gpt2_folder / "gpt2")).shards)
    steps = ("clean", "head", "neurons", "self-reinforcement")
    assert sorted(asked) == [(step, n_shards) for step in steps]
    assert shard_names(tmp_path / "one") == shard_names(tmp_path / "two") != []

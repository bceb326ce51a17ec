"""Shards measured by Ray's actors: each has a device of its own, and loads the model once.

1. An actor is asked of Ray for each worker: on a GPU of its own, or with its share of the cores.
   Ray finds the place.
2. An actor that answers is given a shard, and the next one when it is done. It writes the shard
   itself, into the folder that all machines share, or into the store where the facts lie; its
   files are those that any other writes.
3. Meanwhile it is asked, second by second, how far it is and what it has to log.
4. A shard whose actor dies waits for another, and Ray is asked for a new actor in its place.
"""

from __future__ import annotations

import logging
import os
import queue
import shutil
import signal
import stat
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from logging.handlers import QueueHandler
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from selfrepair.errors import OneLineError
from selfrepair.warehouse.connection import spill_folder
from selfrepair.warehouse.object_store import keep_facts_at, store_of
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.engine.measure import Progress
from selfrepair_assets.measurement.errors import InputError
from selfrepair_assets.steps.run_spec import forget_model
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard
from selfrepair_assets.steps.sharded.step import Executor, Step

logger = logging.getLogger(__name__)
TRIES = 3
"""How often a shard may lose its worker."""
BETWEEN_ANSWERS = 1.0
"""Seconds."""
PATIENCE = 600.0
"""Seconds without an answer of any worker; Ray may have to wait for a place, or start a machine."""
OBJECTS = 100 * 2**20
"""Bytes of Ray's store, which holds a step and no measurement; the least is 75 MiB."""


class WorkerError(OneLineError, RuntimeError):
    """Workers cannot measure; the message says what to do."""


class Worker:
    """Measures, in a process of its own; Ray calls `measure` and `answer` in two threads."""

    def __init__(self, threads: int, folder: str) -> None:
        self.threads = threads
        self.own: Warehouse | None = None
        self.held = ExitStack()
        self.at: tuple[Shard | None, int] = (None, 0)
        self.logged: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        for name in ("selfrepair", "selfrepair_assets"):
            logging.getLogger(name).addHandler(QueueHandler(self.logged))
            logging.getLogger(name).propagate = False
        with suppress(OSError):  # on another machine, which may not have that folder
            os.chdir(folder)

    def measure(self, what: tuple[Step, RunFolder, str | None], shard: Shard) -> int:
        """Measure a shard of a run's step; returns its work, as far as it was told of.

        what: step, run, and the store where the run's facts lie. With one, this worker has a folder
            of its own, in which nothing stays of a shard that is put.
        """
        step, folder, address = what
        if address is not None:
            folder = self._own(folder.run_id, address)
            store_of(folder.warehouse).look_anew()  # others have put what this shard needs
        torch.set_num_threads(self.threads)  # counts for the thread that calls it
        if not folder.exists:
            raise InputError(
                f"The worker on {os.uname().nodename} does not find the run in "
                f"{folder.warehouse.root}: all machines need the same folder there, or --facts."
            )
        self.at = (shard, 0)
        try:
            if step.measure(folder, shard, lambda n: setattr(self, "at", (shard, self.at[1] + n))):
                return self.at[1]
            return step.work(folder, [shard])  # whoever was to measure it had, and died of late
        finally:
            self.at = (None, 0)  # the next step has a shard of the same sequences
            if address is not None:
                shutil.rmtree(folder.warehouse.root / "facts", ignore_errors=True)

    def _own(self, run_id: str, address: str) -> RunFolder:
        """The run in a folder of this worker's own; those of workers that ended are removed."""
        if self.own is None:
            here = Warehouse(Path(gettempdir()) / f"selfrepair-workers-{os.getuid()}")
            here.root.mkdir(exist_ok=True, mode=0o700)
            found = here.root.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                raise InputError(f"{here.root} is not this user's folder: remove it.")
            self.own = Warehouse(self.held.enter_context(spill_folder(here))).prepare()
            keep_facts_at(self.own, address)
        return RunFolder(self.own, run_id)

    def answer(self) -> tuple[tuple[Shard | None, int], list[logging.LogRecord]]:
        """The shard it is at and the work done of it; what was logged since it answered last."""
        time.sleep(BETWEEN_ANSWERS)
        return self.at, [self.logged.get() for _ in range(self.logged.qsize())]


@dataclass
class Hired:
    """A worker as it is seen from here."""

    actor: Any
    answer: Any
    is_up: bool = False
    shard: Shard | None = None
    result: Any = None
    told: int = 0


class Crew:
    """Workers that stay from one step to the next."""

    def __init__(self, size: int, threads: int, options: dict[str, Any]) -> None:
        """size: how many at most; options: what Ray is asked for each."""
        self.size, self.threads = size, threads
        self.actor_class = ray.remote(Worker).options(max_concurrency=2, **options)
        self.workers: list[Hired] = []
        self.heard: set[str] = set()

    def execute(
        self, step: Step, folder: RunFolder, shards: Sequence[Shard], progress: Progress
    ) -> Iterator[Shard]:
        """Gives each shard when it is on disk, in the order in which they come to be.

        Raises what a shard's measurement raised, and WorkerError where a shard has lost `TRIES`
        workers, or none answers.
        """
        forget_model()  # here; it may be on the very device that a worker is to have
        what = ray.put((step, folder, store_of(folder.warehouse).address))
        waiting, lost = deque(shards), Counter[Shard | None]()
        try:
            while waiting or any(worker.shard for worker in self.workers):
                self._give(what, waiting)
                refs = {worker.answer: worker for worker in self.workers}
                refs |= {worker.result: worker for worker in self.workers if worker.shard}
                come, _ = ray.wait(list(refs), timeout=PATIENCE)
                if not come:
                    raise WorkerError(
                        f"No worker has answered for {PATIENCE / 60:.0f} minutes: `ray status` "
                        "says whether there is room for them. The same command goes on."
                    )
                worker, ref = refs[come[0]], come[0]
                shard = worker.shard
                try:
                    found: Any = ray.get(ref)
                except RayTaskError as error:
                    if isinstance(error.cause, OneLineError):
                        raise error.cause from None
                    raise
                except RayError as error:
                    self._dismiss(worker, progress)
                    lost[shard] += 1
                    self._tell_loss(step, shard, lost[shard], error)
                    waiting.extend([shard] if shard else [])
                    continue
                if ref == worker.answer:
                    at, logged = found
                    self._hear(worker, at, logged, progress)
                else:
                    assert shard is not None
                    progress(found - worker.told)
                    worker.shard, worker.result, worker.told = None, None, 0
                    del lost[None]  # there are places: those that were lost came back
                    self._give(what, waiting)  # before whatever is done with this shard
                    folder.get_shard(step.tables, shard)
                    yield shard
        finally:
            for worker in [worker for worker in self.workers if worker.shard]:
                self._dismiss(worker, progress)  # it was not waited for

    def _give(self, what: Any, waiting: deque[Shard]) -> None:
        """Each worker that is up and idle gets a shard; hires as many as there is work for."""
        for worker in self.workers:
            if waiting and worker.is_up and not worker.shard:
                worker.shard = waiting.popleft()
                worker.result = worker.actor.measure.remote(what, worker.shard)
        idle = sum(not worker.shard for worker in self.workers)
        for _ in range(min(self.size - len(self.workers), len(waiting) - idle)):
            actor: Any = self.actor_class.remote(self.threads, str(Path.cwd()))
            self.workers.append(Hired(actor, actor.answer.remote()))

    def _hear(
        self,
        worker: Hired,
        at: tuple[Shard | None, int],
        logged: list[logging.LogRecord],
        progress: Progress,
    ) -> None:
        """Passes on what a worker answered, and asks it again."""
        worker.is_up, worker.answer = True, worker.actor.answer.remote()
        if worker.shard is not None and at[0] == worker.shard:
            progress(at[1] - worker.told)
            worker.told = at[1]
        for record in logged:
            if record.getMessage() not in self.heard:  # each says what is so of the model
                self.heard.add(record.getMessage())
                logging.getLogger(record.name).handle(record)

    def _dismiss(self, worker: Hired, progress: Progress) -> None:
        """Ends a worker, and takes back what it told of its shard."""
        ray.kill(worker.actor)
        self.workers.remove(worker)
        progress(-worker.told)

    def _tell_loss(self, step: Step, shard: Shard | None, times: int, error: RayError) -> None:
        named = f"{step.title}: {shard or 'the place for a shard'}"
        if times >= TRIES:
            raise WorkerError(
                f"{named} has lost {times} workers, the last one so: {_last_line(error)} Where "
                "memory is short, use fewer --workers or a smaller --batch-size."
            ) from error
        logger.warning(f"{named} has lost its worker and goes to another")


@contextmanager
def ray_workers(number: int | None, address: str | None, device: str) -> Iterator[Executor]:
    """Workers until the context ends; `Workers` says what the arguments are.

    Raises InputError where Ray does not answer, or has no room for so many.
    """
    with _connected(number, address):
        crew = Crew(*places([node["Resources"] for node in ray.nodes()], number, device))
        yield crew.execute


def places(
    nodes: Sequence[dict[str, float]], number: int | None, device: str
) -> tuple[int, int, dict[str, Any]]:
    """How many workers there are, the threads of each, and what Ray is asked for each.

    On GPUs one each. On cores each has as many as all can have; $OMP_NUM_THREADS is obeyed, and
    workers of as many threads each compute the same to the last bit.

    nodes: what Ray has on each machine.
    Raises InputError where there is no room for so many.
    """
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    if device.startswith("cuda") or (device == "auto" and any(gpus)):
        wanted = number or sum(gpus)
        if not 0 < wanted <= sum(gpus):
            raise InputError(
                f"{wanted or 'Any'} workers on GPUs need one each, and Ray has {sum(gpus)}. "
                "Use --device cpu, or other --workers."
            )
        return wanted, 1, {"num_gpus": 1, "num_cpus": 1}
    cores = [int(node.get("CPU", 0)) for node in nodes]
    wanted = number or len(nodes)
    most = range(min(max(cores, default=0), sum(cores) // max(wanted, 1)), 0, -1)
    share = next((n for n in most if sum(core // n for core in cores) >= wanted), 0)
    if not share:
        raise InputError(
            f"{wanted} workers need a core each, and Ray has {sum(cores)}: use fewer --workers."
        )
    threads = torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else share
    return wanted, threads, {"num_cpus": share, "num_gpus": 0}


@contextmanager
def _connected(number: int | None, address: str | None) -> Iterator[None]:
    """Ray at an address, or started on this machine and ended again.

    One of this machine listens on loopback alone (`ON_LOOPBACK` in deployment.py), and asks whoever
    connects for a token, which Ray keeps in ~/.ray (its own default).
    """
    how: dict[str, Any] = {"address": address, "log_to_driver": False}
    if address is None:
        cores = max(number or 1, os.cpu_count() or 1)
        how |= {"address": "local", "num_cpus": cores, "include_dashboard": False}
        how["object_store_memory"] = OBJECTS
    in_main = threading.current_thread() is threading.main_thread()
    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**how, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise InputError(f"Ray at {address or 'this machine'}: {_last_line(error)}") from error
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, at_sigterm)  # Ray has one that ends without a word
    try:
        yield
    finally:
        ray.shutdown()


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]

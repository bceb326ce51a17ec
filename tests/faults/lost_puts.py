"""A run whose shards lie in an S3 store too, killed in the middle of its puts, one after the other.

    python -m tests.faults.lost_puts [--shards 6]

Each child goes on with the run where the one before was killed, and is killed itself (SIGKILL) in
the middle of the first put of an object in which none was yet, and with it whatever put another
thread is at: in the end every put was met. A third of them leave half an object. Every second child
measures as a worker on another machine does: in a folder of its own, with nothing but the store in
common, which is lost with it. The run ends as one that nobody disturbed, and a machine that was not
there gets all of it from the store.
"""

import argparse
import hashlib
import importlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from selfrepair.warehouse.object_store import ObjectStore, keep_facts_at
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.engine.measure import Progress
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.steps.run_spec import prepare, start
from selfrepair_assets.steps.sharded.run_folder import RunFolder
from selfrepair_assets.steps.sharded.shards import Shard
from selfrepair_assets.steps.sharded.step import Executor, Step, in_this_process
from selfrepair_assets.steps.sharded.stored_shards import collect
from tests.faults.children import in_child
from tests.helpers.models.families import save
from tests.helpers.objects.s3_server import BUCKET, objects, s3_server
from tests.helpers.runs.asset_runs import LENGTH, small_spec, write_text
from tests.helpers.runs.step_runs import shard_names, steps_of

IMPORTED = ("transformer_lens.model_bridge", "transformers.models.gpt2.modeling_gpt2")


def killed_in_puts(marks: Path) -> None:
    """From now on this process dies in the middle of a put, if it is the first of that object."""
    whole = ObjectStore.put

    def put(self: ObjectStore, path: Path) -> None:
        mark = marks / hashlib.sha256(self._key(path).encode()).hexdigest()
        if mark.exists():
            whole(self, path)
            return
        mark.touch()
        data = path.read_bytes()
        stream = self._files.open_output_stream(self._key(path))
        stream.write(data[: len(data) // 2])
        if len(list(marks.iterdir())) % 3 == 0:
            stream.close()  # what is worse than a kill: half an object is there
        os.kill(os.getpid(), signal.SIGKILL)

    ObjectStore.put = put  # type: ignore[method-assign]


def elsewhere(root: Path, address: str) -> Executor:
    """Measures in another folder, as a worker on another machine does."""

    def execute(
        step: Step, folder: RunFolder, shards: Sequence[Shard], progress: Progress
    ) -> Iterator[Shard]:
        own = Warehouse(root).prepare()
        keep_facts_at(own, address)
        for shard in shards:
            step.measure(RunFolder(own, folder.run_id), shard, progress)
            shutil.rmtree(own.root / "facts")
            folder.get_shard(step.tables, shard)
            yield shard

    return execute


def measured(root: Path, spec: RunSpec, execute: Executor, address: str | None) -> None:
    """Goes on with a run to its end."""
    folder = RunFolder(Warehouse(root).prepare(), spec.run_id)
    if address:
        keep_facts_at(folder.warehouse, address)
    start(folder, prepare(spec))
    for step in steps_of(folder):
        for _ in execute(step, folder, step.missing(folder), lambda n: None):
            pass
        for table in step.tables:
            collect(folder, table)


def got_anew(root: Path, spec: RunSpec, address: str) -> list[str]:
    """What another machine gets of the run from the store alone."""
    folder = RunFolder(Warehouse(root).prepare(), spec.run_id)
    keep_facts_at(folder.warehouse, address)
    for step in steps_of(folder):
        assert step.missing(folder) == []
        for table in step.tables:
            collect(folder, table)
    return shard_names(root)


def killed_at_every_put(place: Path, n_shards: int) -> tuple[int, list[str]]:
    """How many puts were killed, and what is wrong in the end."""
    marks = place / "marks"
    marks.mkdir()
    in_child(lambda: (save("gpt2", place / "gpt2"), write_text(place / "text.txt")))
    spec = small_spec(place / "gpt2", tokens=2 * n_shards * LENGTH, shard_sequences=2)
    in_child(lambda: measured(place / "calm", spec, in_this_process, None))
    expected, n, wrong = shard_names(place / "calm"), 0, list[str]()
    with s3_server() as options:
        address = f"s3://{BUCKET}/run{options}"
        while True:
            own = elsewhere(place / f"worker-{n}", address) if n % 2 else in_this_process
            process = os.fork()
            if process == 0:
                try:
                    killed_in_puts(marks)
                    measured(place / "wild", spec, own, address)
                except BaseException as error:
                    print(f"child {n}: {error!r}", flush=True)
                    os._exit(1)
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            if code != -signal.SIGKILL:
                break
            n += 1
        if code:
            wrong.append(f"after {n} kills a child ended with {code}")
        found = in_child(lambda: objects(options, "run"))
        anew = in_child(lambda: got_anew(place / "anew", spec, address))
    if shard_names(place / "wild") != expected:
        wrong.append("the run's folder has other shards")
    if anew != expected:
        wrong.append("another machine gets other shards")
    sizes = {name: (place / "calm" / name).stat().st_size for name in expected}
    if {name: size for name, size in found.items() if name.startswith("facts/")} != sizes:
        wrong.append("the store has other objects than shards, or halves of them")
    n_met = len(list(marks.iterdir()))
    if not 0 < n <= n_met or n_met < len(expected):
        wrong.append(f"{n} kills met {n_met} puts, of {len(expected)} shards and more")
    return n, wrong


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--shards", type=int, default=6)
    n_shards = asked.parse_args().shards
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in IMPORTED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as place:
        n, wrong = killed_at_every_put(Path(place), n_shards)
    print(f"{n} puts killed, {n_shards} shards of each table: {'; '.join(wrong) or 'all is there'}")
    sys.stdout.flush()
    os._exit(bool(wrong))


if __name__ == "__main__":
    main()

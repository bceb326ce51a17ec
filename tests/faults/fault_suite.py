"""The fault suite: harm, then three questions, for every kind of fault of `faults.py`.

    python -m tests.faults.fault_suite [--short | --flips N | --first-runs N] [--seed N]

1. Is what is published whole (where the fault left anything published): every view answers?
2. Does the same command end well: at once, or after the one line that it says to follow?
3. Are the tables equal to those of a run that nobody disturbed?

A kind's outcomes: "healed" by the same command, "refused" in one line whose advice then heals it,
or "lost or wrong", which fails. Commands run in children that are forked from this process, which
has imported what they need: a run then takes seconds.
"""

import argparse
import contextlib
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.children import LIMIT, Child, Done, in_child
from tests.faults.compared import difference, tables_in_child, whole_in_child
from tests.faults.faults import HARMS, PLACES, leftovers, whole_folder
from tests.helpers.models.families import save
from tests.helpers.runs.asset_runs import LENGTH, write_text
from tests.helpers.runs.cli_runs import mounted

IMPORTED = (
    *("transformer_lens.model_bridge", "transformers.models.gpt2.modeling_gpt2", "alembic"),
    *("selfrepair.dagster_project.cli.run", "selfrepair.dagster_project.cli.doctor"),
)
"""What a run imports late: here once, and not in each of some hundred commands."""


@dataclass
class Suite:
    """One undisturbed run, and what came of each injected fault."""

    place: Path
    seed: int
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model, self.text = self.place / "gpt2", self.place / "text.txt"
        in_child(lambda: (save("gpt2", self.model), write_text(self.text)))
        self.calm = self.place / "calm"
        done = self.command(self.calm)
        assert done.code == 0, done.said
        self.expected = tables_in_child(self.calm)
        self.half = self.place / "half"  # killed when half of the ablations were measured
        self._killed_at(self.half, 0.5)

    # What a user types.

    def arguments(self, root: Path, *more: str) -> list[str]:
        return [
            *("run", str(self.model), "--corpus", str(self.text), "--warehouse", str(root)),
            *("--tokens", str(8 * LENGTH), "--sequence-length", str(LENGTH)),
            *("--top-fraction", "0.1", "--shard-sequences", "2", "--ablations", "resample,mean"),
            *more,
        ]

    def command(self, root: Path, *words: str) -> "Done":
        return Child(list(words) or self.arguments(root), self.place / f"said-{root.name}").end()

    def start(self, root: Path) -> "Child":
        return Child(self.arguments(root), self.place / f"said-{root.name}")

    # The three questions.

    def judge(self, kind: str, root: Path, what: str, *, served: bool = False) -> None:
        """Asks the three questions, and notes the outcome.

        served: something must be served now, whole, before anything is repaired.
        """
        outcome, problem = "healed", ""
        if served:
            problem = whole_in_child(root)
        done = self.command(root)
        if done.code == 2 and "Traceback" not in done.said:
            outcome = "refused"
            last = done.said.strip().splitlines()[-1]
            if "doctor --repair" in last:
                self.command(root, "doctor", "--repair", "--warehouse", str(root))
                done = self.command(root)
            elif "--restart" in last:
                done = Child(self.arguments(root, "--restart"), self.place / "said-again").end()
            elif "move it away" in last:
                served_name = root / "selfrepair.duckdb"
                served_name.rename(root / "moved away")
                done = self.command(root)
        if done.code != 0 or "Traceback" in done.said:
            problem += f" | ended with {done.code}: {done.said[-1500:]}"
        else:
            problem += difference(tables_in_child(root), self.expected)
        self.counts.setdefault(kind, Counter())["lost or wrong" if problem else outcome] += 1
        if problem:
            self.wrong.append(f"{kind}, {what}: {problem}")
        print(f"{kind}: {what}: {'WRONG ' + problem if problem else outcome}", flush=True)

    # The kinds.

    def copy(self, of: Path, name: str = "wild") -> Path:
        root = self.place / name
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(of, root, symlinks=True)
        return root

    def harmed(self, kind: str, harm: str, n: int, *, half: bool = False) -> None:
        """Harms one file, chosen at random, of a finished run or of one that was killed."""
        for i in range(n):
            rng = random.Random(f"{self.seed} {kind} {harm} {half} {i}")
            root = self.copy(self.half if half else self.calm)
            files = PLACES[kind](root)
            if not files:
                continue
            path = rng.choice(files)
            if path.is_symlink() and harm != "removed":
                path = root / os.readlink(path)
            if not path.stat().st_size:
                continue
            HARMS[harm](path, rng)
            name = f"{kind}{', half a run' if half else ''}: {harm}"
            self.judge(name, root, f"{path.relative_to(root)} (try {i})")

    def killed(self, how: signal.Signals, n: int) -> None:
        """kill -9, SIGINT or SIGTERM at a random moment of a run over a published one."""
        for i in range(n):
            rng = random.Random(f"{self.seed} {how} {i}")
            root = self.copy(self.calm)
            if i % 2:  # much is to be measured, or only to be published
                for path in rng.sample(sorted((root / "facts").rglob("sequences-*")), 12):
                    path.unlink()
            child, moment = self.start(root), rng.uniform(0.3, 9.0)
            time.sleep(moment)
            child.send(how)
            self.judge(
                f"{how.name} while measuring or publishing", root, f"{moment:.2f} s", served=True
            )

    def full_disk(self, n: int) -> None:
        for i in range(n):
            rng = random.Random(f"{self.seed} full {i}")
            size = f"size={rng.randrange(2_500, 16_000)}k"
            with mounted(self.place / "disk", "-o", size) as disk:
                root = disk / "wild"
                if i % 2:
                    with contextlib.suppress(shutil.Error, OSError):
                        shutil.copytree(self.half, root, symlinks=True)
                done = self.command(root)
                said = "Traceback" not in done.said and done.code in (0, 2)
                subprocess.run(["mount", "-o", "remount,size=500m", str(disk)], check=True)
                if not said:
                    self.wrong.append(f"full disk: {done.said[-800:]}")
                self.judge("a disk that fills up", root, f"try {i}, exit {done.code}")

    def read_only(self, n: int) -> None:
        for i in range(n):
            rng = random.Random(f"{self.seed} read-only {i}")
            with mounted(self.place / "disk", "-o", "size=500m") as disk:
                root = disk / "wild"
                shutil.copytree(self.half, root, symlinks=True)
                child, moment = self.start(root), rng.uniform(0.2, 6.0)
                time.sleep(moment)
                subprocess.run(["mount", "-f", "-o", "remount,ro", str(disk)], check=False)
                subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True)
                child.end()
                subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
                self.judge("a disk that becomes read-only", root, f"{moment:.2f} s")

    def at_once(self, n: int, commands: int, *, fresh: bool) -> None:
        """The same command several times at once: one works, the others are refused or wait."""
        for i in range(n):
            root = self.place / "wild"
            shutil.rmtree(root, ignore_errors=True)
            if not fresh:
                self.copy(self.half)
            children = [
                Child(self.arguments(root), self.place / f"said-{k}") for k in range(commands)
            ]
            ended = [child.end() for child in children]
            bad = [d for d in ended if d.code not in (0, 2) or "Traceback" in d.said]
            kind = f"{commands} commands at once, {'fresh' if fresh else 'half a run'}"
            if bad or all(done.code for done in ended):
                self.wrong.append(f"{kind}: {[d.said[-800:] for d in bad or ended]}")
            self.judge(kind, root, f"try {i}: exits {[done.code for done in ended]}", served=True)

    def other(self, n: int) -> None:
        for i in range(n):
            rng = random.Random(f"{self.seed} other {i}")
            root = self.copy(self.calm)
            leftovers(root, rng)
            self.judge("leftovers of killed processes", root, f"try {i}", served=True)
            root = self.copy(self.calm)
            whole_folder(root, rng)
            self.judge("a table's whole folder removed", root, f"try {i}", served=True)

    def _killed_at(self, root: Path, share: float) -> None:
        wanted = share * len(list((self.calm / "facts" / "head_ablations").rglob("seq*")))
        child = self.start(root)
        began = time.monotonic()
        while time.monotonic() - began < LIMIT:
            if len(list(root.glob("facts/head_ablations/*/seq*"))) >= wanted:
                break
            time.sleep(0.005)
        child.send(signal.SIGKILL)

    def whole(self) -> None:
        """All kinds: some 250 injections."""
        for kind in PLACES:
            for harm in HARMS:
                self.harmed(kind, harm, 6)
        for kind in ("shard", "manifest", "file of the run's folder"):
            for harm in ("bit flip", "cut off", "emptied", "removed"):
                self.harmed(kind, harm, 2, half=True)
        for how in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
            self.killed(how, 8)
        self.full_disk(6)
        self.read_only(6)
        for commands in (2, 3):
            for fresh in (True, False):
                self.at_once(2, commands, fresh=fresh)
        self.other(3)

    def short(self) -> None:
        """Some 17 injections, of each kind; which harm a kind of file meets goes in turn."""
        harms = ("bit flip", "emptied", "removed", "a folder in its place", "cut off")
        for kind, harm in zip(PLACES, harms, strict=True):
            self.harmed(kind, harm, 1)
        for kind in ("shard", "file of the run's folder"):
            self.harmed(kind, "removed", 1, half=True)
        for how in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
            self.killed(how, 1)
        self.full_disk(2)
        self.read_only(1)
        self.at_once(1, 2, fresh=False)
        self.other(1)

    def flips(self, n: int) -> None:
        """A bit at random places of all shards of a run, one at a time."""
        for i in range(n):
            rng = random.Random(f"{self.seed} flips {i}")
            root = self.copy(self.calm)
            path = rng.choice(PLACES["shard"](root))
            HARMS["bit flip"](path, rng)
            self.judge("a bit of one shard", root, f"{path.parent.parent.name} (try {i})")

    def first_runs(self, n: int) -> None:
        """Two and three first runs at once in a warehouse that is not there yet."""
        for commands in (2, 3):
            self.at_once(n, commands, fresh=True)

    def table(self) -> str:
        """In Markdown: of each kind what was tried, and what came of it."""
        lines = ["| fault | tried | healed | refused in one line, then healed | lost or wrong |"]
        lines.append("| --- | --- | --- | --- | --- |")
        total: Counter[str] = Counter()
        for kind, outcomes in self.counts.items():
            total.update(outcomes)
            lines.append(_row(kind, outcomes))
        return "\n".join([*lines, _row("**all**", total)])


def _row(kind: str, outcomes: Counter[str]) -> str:
    numbers = [outcomes.total(), *(outcomes[o] for o in ("healed", "refused", "lost or wrong"))]
    return f"| {kind} | " + " | ".join(map(str, numbers)) + " |"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--short", action="store_true")
    asked.add_argument("--flips", type=int, default=0, help="only so many flipped bits")
    asked.add_argument("--first-runs", type=int, default=0, help="only so many first runs at once")
    asked.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = asked.parse_args()
    print(f"seed {options.seed}", flush=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in IMPORTED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as place:
        suite = Suite(Path(place), options.seed)
        if options.flips:
            suite.flips(options.flips)
        elif options.first_runs:
            suite.first_runs(options.first_runs)
        else:
            suite.short() if options.short else suite.whole()
    print(suite.table(), *suite.wrong, sep="\n")
    sys.stdout.flush()
    os._exit(1 if suite.wrong else 0)


if __name__ == "__main__":
    main()

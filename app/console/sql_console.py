"""SQL typed by a visitor: started, watched, cancelled and bounded from outside.

Every statement runs in a process of its own (`sql_worker.py`). Why not on the app's connection:
one process cannot open a file with two configurations, so that the visitor's locks (no file, one
limit of memory) would hold for the app's own queries and for facts that lie outside the file; a
statement that takes all memory or crashes would take the app with it; and a process can be killed
at any moment, which is a cancel that always works. Starting one takes some 0.2 s.
"""

import io
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa

MOST_ROWS = 10_000
SECONDS = 20.0
MEMORY_MB = 512
THREADS = 2
AT_ONCE = 3  # statements of all visitors together
MOST_ANSWER = 96 * 2**20  # bytes read from a worker, whatever it says

OUTSIDE = (
    "this table has rows of large runs, which lie outside the published file; this page reads them "
    "where the system has Landlock (Linux 5.13 and later): ask `selfrepair sql`"
)
WORKER = Path(__file__).with_name("sql_worker.py")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What became of a statement: its rows, or the line that says why there are none."""

    statement: str
    table: pa.Table | None
    more: bool
    error: str | None
    seconds: float


_slots = threading.BoundedSemaphore(AT_ONCE)


class Statement:
    """A statement that runs; `result` is None until it has ended.

    file: the generation that is read.
    outside: the files of its warehouse that hold the rows of large runs.
    """

    def __init__(
        self,
        file: Path,
        statement: str,
        *,
        outside: Collection[Path] = (),
        most_rows: int = MOST_ROWS,
        seconds: float = SECONDS,
        memory_mb: int = MEMORY_MB,
    ) -> None:
        self.statement = statement
        self.result: Result | None = None
        self._began = time.monotonic()
        self._seconds = seconds
        self._memory_mb = memory_mb
        self._cancelled = False
        self._process: subprocess.Popen[bytes] | None = None
        self._file = file
        self._request = {
            "folder": str(file.parents[1]),
            "outside": [str(path) for path in outside],
            "statement": statement,
            "most_rows": most_rows,
            "seconds": seconds,
            "memory_mb": memory_mb,
            "threads": THREADS,
        }
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def cancel(self) -> None:
        """Ends the statement now."""
        self._cancelled = True
        if self._process is not None:
            self._process.kill()

    def wait(self) -> Result:
        """Waits for the end, which the time limit bounds."""
        self._thread.join(self._seconds + 30)
        if self.result is None:
            self.cancel()
            self._thread.join(5)
        return self.result or self._failed("the statement did not end")

    def _run(self) -> None:
        if not _slots.acquire(timeout=5):
            self.result = self._failed(
                f"{AT_ONCE} statements are running already: try again in a moment"
            )
            return
        try:
            self.result = self._ask_worker()
        except FileNotFoundError:
            self.result = self._failed(
                "this generation is gone, a newer one is published: run again"
            )
        except OSError as error:
            self.result = self._failed(f"the statement could not be started: {error.strerror}")
        finally:
            _slots.release()

    def _ask_worker(self) -> Result:
        with (
            self._file.open("rb") as file,
            subprocess.Popen(
                # -I: nothing of the app's folder or environment is on its path.
                [sys.executable, "-I", str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                pass_fds=[file.fileno()],
            ) as process,
        ):
            self._request["fd"] = file.fileno()
            self._process = process
            if self._cancelled:
                process.kill()
            killer = threading.Timer(self._seconds + 10, process.kill)
            killer.daemon = True
            killer.start()
            try:
                answer = self._exchange(process)
            finally:
                killer.cancel()
                process.kill()
        return self._read(answer, process.returncode)

    def _exchange(self, process: subprocess.Popen[bytes]) -> bytes:
        """Sends the request and reads the answer, at most MOST_ANSWER bytes of it."""
        if process.stdin is None or process.stdout is None:
            return b""
        try:
            process.stdin.write(json.dumps(self._request).encode() + b"\n")
            process.stdin.close()
        except BrokenPipeError:
            return b""
        return process.stdout.read(MOST_ANSWER)

    def _read(self, answer: bytes, code: int | None) -> Result:
        head, _, body = answer.partition(b"\n")
        if self._cancelled:
            return self._failed("cancelled")
        if not head:
            too_long = self.elapsed >= self._seconds
            return self._failed(
                f"stopped after {self._seconds:.0f} s, the time limit"
                if too_long
                else "stopped: the statement used more memory or time than it may have"
            )
        try:
            said = json.loads(head)
            if not said["landlock"]:
                _warn_once()
            if not said["ok"]:
                closed = self._request["outside"] and not said["landlock"]
                if closed and "cannot access file" in said["error"].lower():
                    return self._failed(OUTSIDE)
                return self._failed(_plain(said["error"], self._seconds, self._memory_mb))
            with pa.ipc.open_stream(io.BytesIO(body)) as reader:
                table = reader.read_all()
        except (ValueError, KeyError, pa.ArrowException):
            return self._failed("the statement ended without a whole answer: run it again")
        return Result(self.statement, table, said["more"], None, self.elapsed)

    def _failed(self, error: str) -> Result:
        return Result(self.statement, None, False, error, self.elapsed)


@cache
def _warn_once() -> None:
    logger.warning(
        "This system has no Landlock (Linux 5.13 and later have it): what SQL typed by a visitor "
        "may do is held by the check of each statement and by DuckDB's own locks alone. Serve this "
        "page to people whom you trust."
    )


def run(file: Path, statement: str, *, outside: Collection[Path] = (), **limits: float) -> Result:
    """Runs a statement to its end; the limits are those of `Statement`."""
    return Statement(file, statement, outside=outside, **limits).wait()  # type: ignore[arg-type]


def _plain(error: str, seconds: float, memory_mb: int) -> str:
    """DuckDB's message; what the locks refuse is said in the page's own words."""
    lower = error.lower()
    if "interrupt" in lower or "max_execution_time" in lower:
        return f"stopped after {seconds:.0f} s, the time limit"
    refused = ("disabled by configuration", "configuration has been locked", "read-only mode")
    if any(word in lower for word in refused):
        return f"refused: this page only reads the published tables. ({error.splitlines()[0]})"
    if lower.startswith("out of memory"):
        return f"stopped: the statement needs more than {memory_mb} MB of memory, the limit here"
    return error

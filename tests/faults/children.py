"""Commands and functions in children that are forked from this process, which has imported all."""

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfrepair.dagster_project.cli import main as program

LIMIT = 300  # seconds of a command


@dataclass(frozen=True)
class Done:
    code: int
    said: str


class Child:
    """A command in a forked process; what it says goes to a file."""

    def __init__(self, words: list[str], said: Path) -> None:
        self.said = said
        self.process = os.fork()
        if self.process == 0:
            with open(said, "w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.argv = ["selfrepair", *words]
            try:
                program.main()
            finally:
                os._exit(70)

    def send(self, how: signal.Signals) -> Done:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, how)
        return self.end()

    def end(self) -> Done:
        began = time.monotonic()
        while True:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                break
            if time.monotonic() - began > LIMIT:
                os.kill(self.process, signal.SIGKILL)
                os.waitpid(self.process, 0)
                return Done(-1, "it did not end: " + self.said.read_text())
            time.sleep(0.01)
        return Done(os.waitstatus_to_exitcode(status), self.said.read_text(errors="replace"))


def in_child(do: Any) -> Any:
    """What a function gives, called in a forked process; this one starts no threads of its own."""
    import pickle

    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        try:
            result = do()
            with os.fdopen(writing, "wb") as file:
                pickle.dump(result, file)
        except BaseException as error:
            with os.fdopen(writing, "wb") as file:
                pickle.dump(RuntimeError(str(error)), file)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        result = pickle.load(file)
    os.waitpid(process, 0)
    if isinstance(result, RuntimeError):
        raise result
    return result

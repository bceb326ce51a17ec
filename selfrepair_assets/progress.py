"""Progress of long work: a bar on a terminal, throttled lines in a log; both with rate and ETA."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0
SCALED_FROM = 10_000  # units that are shown as 46.4k
COLUMNS = 100  # where a terminal does not tell its width


@dataclass
class Work:
    """Some work that is counted in units, possibly resumed from `done` of `total`.

    `tell` takes the lines; None draws a bar on stderr instead, or lines there where stderr is
    neither a terminal nor a notebook's.
    """

    title: str
    unit: str
    total: int
    done: int = 0
    tell: Callable[[str], None] | None = None
    _began: float = field(default_factory=time.monotonic)
    _told: float = field(default_factory=time.monotonic)
    _here: int = 0
    _closed: bool = False
    _step: str = ""
    _bar: tqdm | None = None

    def __post_init__(self) -> None:
        if self.tell is None and _takes_bar():
            self._bar = tqdm(
                total=self.total,
                initial=self.done,
                desc=self.title,
                unit=f" {self.unit}",
                unit_scale=self.total >= SCALED_FROM,
                smoothing=0.1,
                **_width(),
            )
        elif self.tell is None:
            self.tell = lambda line: print(line, file=sys.stderr, flush=True)
        if self.tell is not None and self.unit != "%":
            self.tell(f"{self.title}: {self.total:,} {self.unit}, {self.done:,} of them done")

    def add(self, n: int) -> None:
        """`n` more units are done."""
        self.done += n
        self._here += n
        if self._bar is not None:
            self._bar.update(n)
        elif time.monotonic() - self._told >= SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            assert self.tell is not None
            self.tell(self.line())

    def say(self, line: str) -> None:
        """A line beside the bar, or in the log."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        elif self.tell is not None:
            self.tell(f"{self.title}: {line}")

    def expect(self, left: int) -> None:
        """`left` units are still to be done: not as many as was thought, or more."""
        self.total = self.done + left
        if self._bar is not None:
            self._bar.total = self.total

    def reach(self, share: float, step: str) -> None:
        """Done to that share, with this step under way: what a publisher calls."""
        self.add(round(share * self.total) - self.done)
        if self._bar is not None:
            self._bar.set_postfix_str(step)
        elif self.tell is not None and step != self._step:
            self.tell(f"{self.title}: {share:.0%}, {step}")
        self._step = step

    def line(self) -> str:
        """Such as `head ablations: 34 % of 550,000 head-tokens, 2,310/s, 2:37 left`."""
        rate, left = self._here / max(1e-9, self.seconds), self.seconds_left
        share = self.done / max(1, self.total)
        speed = f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"
        return (
            f"{self.title}: {share:.0%} of {self.total:,} {self.unit}, {speed}, {_clock(left)} left"
        )

    @property
    def seconds(self) -> float:
        """How long it has taken here so far."""
        return time.monotonic() - self._began

    @property
    def seconds_left(self) -> float:
        """How long the rest takes at the rate so far."""
        return self.seconds_for(self.total - self.done)

    def seconds_for(self, units: int) -> float:
        """How long so many units take at the rate so far."""
        return units * self.seconds / self._here if self._here else float("inf")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Meanwhile something else is done, whose time is not the work's."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._began += time.monotonic() - began

    def close(self) -> None:
        """Say that it is done, once."""
        if self._closed:
            return
        self._closed = True
        if self._bar is not None:
            self._bar.close()
        elif self.tell is not None:
            rate = self._here / max(1e-9, self.seconds)
            self.tell(f"{self.title}: done in {_clock(self.seconds)} ({rate:,.3g} {self.unit}/s)")


def _takes_bar() -> bool:
    """Whether stderr shows a bar that is drawn over itself: a terminal, or a notebook's cell.

    That a library has imported ipykernel makes no notebook: nbclient does, to find kernels.
    """
    is_cell = type(sys.stderr).__module__.partition(".")[0] == "ipykernel"
    return is_cell or sys.stderr.isatty()


def _width() -> dict[str, Any]:
    """tqdm's settings: the terminal's own width; some are of no width, as under `docker -t`."""
    try:
        told = os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        told = 0
    return {"dynamic_ncols": True} if told else {"ncols": COLUMNS}


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "unknown time"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

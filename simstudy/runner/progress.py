"""How far a run is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS, SHARE = 10.0, 0.05
"""A plain line is printed after so many seconds, or after so much of the work (but not within a second of another)."""


@dataclass(frozen=True)
class State:
    """Counts so far.

    Attributes
    ----------
    done, total : float
        Data sets fitted by every method that they lacked, and to be fitted.
    cells_done, cells : int
        Cells with nothing missing, and cells with work to do.
    failed : int
        Fits that failed.
    seconds : float
        Since the start.
    parts : str
        What is counted beside data sets: ``cells``, or something else.
    """

    done: float
    total: float
    cells_done: int
    cells: int
    failed: int
    seconds: float
    parts: str = "cells"

    @property
    def rate(self) -> float:
        """Data sets per second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> float:
        """Seconds left, by the rate so far; infinite at the start."""
        return (self.total - self.done) / self.rate if self.rate > 0 else float("inf")


def clock(seconds: float) -> str:
    """Hours, minutes and seconds as ``1:02:03`` or ``2:03``."""
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def describe(state: State) -> str:
    """Counts in words."""
    return (
        f"{state.done:,.0f}/{state.total:,.0f} replicates, {state.cells_done}/{state.cells} {state.parts}, "
        f"{state.rate:,.0f} replicates/s, failed fits: {state.failed:,}"
    )


class Reporter(Protocol):
    """Where progress goes."""

    def update(self, state: State) -> None:
        """Show counts."""
        ...

    def say(self, message: str) -> None:
        """Show a message."""
        ...


class Silent:
    """Nowhere; messages are kept out too."""

    def update(self, state: State) -> None:
        """Show nothing."""

    def say(self, message: str) -> None:
        """Show nothing."""


class Lines:
    """Plain lines, now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._time = time.monotonic()
        self._share = 0.0

    def update(self, state: State) -> None:
        """Print a line if it is time to."""
        now, share = time.monotonic(), state.done / max(state.total, 1.0)
        waited = now - self._time
        finished = state.done >= state.total
        if finished or waited >= SECONDS or (waited >= 1.0 and share - self._share >= SHARE):
            self._time, self._share = now, share
            left = f"done in {clock(state.seconds)}" if finished else f"{clock(state.left)} left"
            self.say(f"{100 * share:5.1f} %  {describe(state)}, {left}")

    def say(self, message: str) -> None:
        """Print a line."""
        print(message, file=self._stream, flush=True)


class Bar:
    """A bar that stays at the bottom of a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:5.1f} %"),
            TextColumn("{task.description}"),
            TimeRemainingColumn(compact=True),
            console=console,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, state: State) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=state.done, total=state.total, description=describe(state))

    def say(self, message: str) -> None:
        """Print above the bar."""
        self._console.print(message, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def reporter(show: bool = True, stream: TextIO | None = None) -> Iterator[Reporter]:
    """Progress to a stream, standard error by default: a bar if it is a terminal."""
    stream = stream or sys.stderr
    if not show:
        yield Silent()
    elif stream.isatty():
        with Bar(Console(file=stream)) as bar:
            yield bar
    else:
        yield Lines(stream)

"""A time limit a fit.

What is interrupted: Python code, and through it everything that returns to Python now and then (numpy, SciPy's
optimisers, SQL, subprocesses), by an alarm (SIGALRM) that raises `TimeUp` in the main thread of the process that fits.
A single call of compiled code is interrupted when it returns. If it does not return within `GRACE` seconds after the
alarm, a watchdog thread of the interpreter ends the worker process, even where the call holds the interpreter's lock;
before that, it leaves a note which fits it were. The block is then run again without trying those.

What is not: compiled code where there is no worker process to end (`replay`, `fit`); on systems without SIGALRM
(Windows) everything is left to the watchdog; making a method ready (`prepare`), which may have to compile.

A batch may take the limit times its number of replicates. One that takes longer is halved until single replicates are
over the limit by themselves: these are TIMEOUT. Which ones are depends on the machine and on what else it does; the
numbers of all others are those without a limit, to the last bit.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from simstudy.errors import SimstudyError
from simstudy.methods.wall import TimeUp

GRACE = 2.0
"""Seconds that a fit may take to notice that its time is up, before its worker is ended."""
AT_ONCE = 32
"""Replicates a batch, at most: one that never ends costs twice as many limits until it stands alone."""

Overrun = tuple[str, int, int]
"""Method, first replicate and number of replicates of a batch that had to be ended with its worker."""


@dataclass(frozen=True)
class Limit:
    """Time limit of the fits of a block.

    Attributes
    ----------
    seconds : float or None
        A replicate.
    known : frozenset of Overrun
        Batches that took too long before, and did not react.
    """

    seconds: float | None = None
    known: frozenset[Overrun] = frozenset()


NO_LIMIT = Limit()

_watchdog: tuple[IO[str], str] | None = None


def set_watchdog(notes: Path, block: str) -> None:
    """In a worker process, before a block: fits that do not react end the process, with a note in this folder."""
    global _watchdog
    path = notes / f"{os.getpid()}.txt"
    if _watchdog is not None and Path(_watchdog[0].name) == path:
        _watchdog = (_watchdog[0], block)
        return
    if _watchdog is not None:
        _watchdog[0].close()
    _watchdog = (path.open("w", encoding="utf-8"), block)


def read_notes(notes: Path) -> list[tuple[str, Overrun]]:
    """What the watchdogs of ended workers wrote: the block, and which batch it was."""
    found = []
    for path in sorted(notes.iterdir()):
        first, _, rest = path.read_text(encoding="utf-8", errors="replace").partition("\n")
        if "Timeout (" in rest:
            block, method, start, n = json.loads(first)
            found.append((str(block), (str(method), int(start), int(n))))
    return found


def check_timeout(seconds: float | None) -> None:
    """Raise a `SimstudyError` for a limit that is none."""
    if seconds is not None and not 0 < seconds < float("inf"):
        raise SimstudyError(f"timeout: found {seconds:g}; allowed: seconds a fit, more than 0")


@contextmanager
def deadline(seconds: float | None, batch: Overrun) -> Iterator[None]:
    """Raise `TimeUp` inside after so many seconds, or at the end where the code inside swallowed it."""
    if seconds is None:
        yield
        return
    if _watchdog is not None:
        file, block = _watchdog
        file.seek(0)
        file.truncate()
        file.write(json.dumps([block, *batch]) + "\n")
        file.flush()
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=file)
    try:
        with _alarm(seconds):
            yield
    finally:
        if _watchdog is not None:
            faulthandler.cancel_dump_traceback_later()


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise `TimeUp` in the main thread, and again and again as long as the code inside goes on."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    rung, active = False, True

    def ring(number: int, frame: object) -> None:
        nonlocal rung
        if active:
            rung = True
            raise TimeUp

    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    left, every = signal.setitimer(signal.ITIMER_REAL, seconds, min(seconds, 1.0))
    try:
        yield
    except BaseException:
        if rung:  # whatever was made of it
            raise TimeUp from None
        raise
    finally:
        active = False
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, handler)
        if left:  # somebody else's alarm
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 1e-3), every)
    if rung:
        raise TimeUp

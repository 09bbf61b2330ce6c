"""A wall around methods: what one does wrong is its own failure, and nobody else's.

Methods come from anywhere. Whatever one raises, `sys.exit` included, becomes a `MethodError`; what it is given it
cannot change; what it returns is looked at in one place (`verify.check_result`). A user's Ctrl-C passes.
"""

from __future__ import annotations

import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from simstudy.errors import EstimatorError, SimstudyError
from simstudy.estimation.result import FitResult, Status, failed
from simstudy.methods.protocol import Estimator, PreparedEstimator, PreparedRandom
from simstudy.methods.verify import check_result
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import arrays_of
from simstudy.population.streams import FitStreams

P = ParamSpec("P")
T = TypeVar("T")
Fitter = Callable[[Any, FitStreams], FitResult]


class TimeUp(BaseException):
    """The time limit of a fit is over; no `Exception`, so that methods let it pass."""


class MethodError(EstimatorError):
    """A method stopped with an error.

    Attributes
    ----------
    text : str
        Type and message of the error.
    trace : str
        End of its traceback.
    own : SimstudyError or None
        The error itself, where the method refused in words meant for the user.
    """

    def __init__(self, text: str, trace: str = "", own: SimstudyError | None = None) -> None:
        super().__init__(text)
        self.text, self.trace, self.own = text, trace, own

    @classmethod
    def of(cls, error: BaseException) -> MethodError:
        """Describe an error, whatever it does when it is asked for its message."""
        if isinstance(error, cls):
            return error
        return cls(describe(error), _trace(error), error if isinstance(error, SimstudyError) else None)


def describe(error: BaseException) -> str:
    """Type and message of an error, the message cut off where it is long."""
    if isinstance(error, MethodError):
        return error.text
    name = type(error).__name__
    try:
        text = f"{name}: {error}"
    except BaseException as second:
        text = f"{name} (its message cannot be shown: {type(second).__name__})"
    return _plain(text)[:500]


def _trace(error: BaseException) -> str:
    try:
        return _plain("".join(traceback.format_exception(error))[-3000:])
    except BaseException as second:
        return f"(the traceback cannot be shown: {type(second).__name__})"


def _plain(text: str) -> str:
    """Text that can be written to any file: without halves of characters."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass
class _Heard:
    interrupt: bool = False


@contextmanager
def _listening() -> Iterator[_Heard]:
    """Tell a user's Ctrl-C from a `KeyboardInterrupt` that a method raises itself."""
    heard = _Heard()
    previous = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if not callable(previous):  # ignored, or handled elsewhere: no interrupt of the user's can arrive here
        yield heard
        return

    def handler(number: int, frame: object) -> None:
        heard.interrupt = True
        cast(Callable[..., object], previous)(number, frame)

    signal.signal(signal.SIGINT, handler)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, previous)


def walled(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call code of a method; filters of warnings and numpy's treatment of errors are afterwards what they were.

    Raises
    ------
    MethodError
        Whatever the code raises: also `SystemExit`, `GeneratorExit`, and a `KeyboardInterrupt` of its own.
    KeyboardInterrupt
        The user's, also where the method swallows it.
    TimeUp
        Of a time limit.
    """
    failure = None
    with _listening() as heard, warnings.catch_warnings(), np.errstate():
        try:
            result = function(*args, **kwargs)
        except TimeUp:
            raise
        except BaseException as error:
            failure = MethodError.of(error)
    if heard.interrupt:
        raise KeyboardInterrupt
    if failure is not None:
        raise failure
    return result


def lock(data: T, arrays: Callable[[Any], Sequence[Any]] = arrays_of) -> T:
    """Make the arrays in data read-only, in place; nothing is copied."""
    for array in arrays(data):
        array.setflags(write=False)
    return data


def select(data: Any, replicates: slice, n: int) -> Any:
    """Some of ``n`` data sets; a `MethodError` where a kind of data cannot be divided."""

    def part() -> Any:
        found, wanted = data.select(replicates), len(range(n)[replicates])
        if found.n_replicates != wanted:
            raise MethodError(f"select() of the data gave {found.n_replicates!r} data sets, not {wanted}")
        return found

    return walled(part)


def fitter(method: Estimator, prepared: PreparedEstimator) -> Fitter:
    """What a method prepared, as a function of data and streams; methods that do not draw are given no streams."""
    if method.needs_random:
        return cast(PreparedRandom, prepared).fit
    return lambda data, streams: prepared.fit(data)


def fit_walled(
    method: Estimator,
    model: TwoLevelModel,
    fit: Fitter,
    data: Any,
    streams: FitStreams,
    level: float | None = None,
) -> tuple[FitResult, dict[int, str]]:
    """Fit R data sets.

    Parameters
    ----------
    method : Estimator
    model : TwoLevelModel
    fit : callable
        Of the method, see `fitter`.
    data : data
        Of the kind that the method needs; is made read-only.
    streams : FitStreams
        For these data sets.
    level : float, optional
        Level that intervals of the method's own must have.

    Returns
    -------
    FitResult, dict of int to str
        What was found, and what is wrong with the numbers of which data set: see `verify.check_result`.

    Raises
    ------
    MethodError
        The method stopped with an error, or returned no result.
    """
    result = walled(lambda: fit(lock(data), streams))
    return walled(check_result, result, method, model, len(streams), level)


def fit_by_halves(
    method: Estimator, model: TwoLevelModel, fit: Fitter, data: Any, streams: FitStreams, level: float | None = None
) -> FitResult:
    """Fit R data sets; those on which the method stops with an error are EXCEPTION. See `fit_walled`."""
    n = len(streams)
    with suppress(MethodError):
        return fit_walled(method, model, fit, data, streams, level)[0]
    nothing = failed(model.names, method.se_kinds, n, Status.EXCEPTION)
    if n == 1:
        return nothing
    halves = (slice(0, n // 2), slice(n // 2, n))
    try:
        parts = [(select(data, half, n), streams.select(half)) for half in halves]
    except MethodError:
        return nothing
    return FitResult.concat([fit_by_halves(method, model, fit, *part, level) for part in parts])

"""One tree of errors, each with a message a researcher can act on."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable, Sequence


class SimstudyError(Exception):
    """Base of every error that the package raises on purpose.

    Parameters
    ----------
    problems : str or sequence of str
        One message a problem: where, what was found, what is allowed, what was probably meant.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class ModelError(SimstudyError):
    """The model text, or what it implies, cannot be used."""


class DataError(SimstudyError):
    """The data cannot be used."""


class DesignError(SimstudyError):
    """A design file cannot be used."""


class EstimatorError(SimstudyError):
    """A method is unknown, or was given options that it does not have."""


class StoreError(SimstudyError):
    """A results folder cannot be used."""


class SimstudyWarning(UserWarning):
    """Base of the warnings that the package gives to callers in Python."""


class ConvergenceWarning(SimstudyWarning):
    """A fit did not converge: its numbers are NaN, and ``fit.status`` says why (the command's exit code is then 1)."""


def warn_caller(message: str, category: type[SimstudyWarning]) -> None:
    """Warn as of the line outside of the package that called it."""
    frame, level = sys._getframe(1), 2
    own = __name__.partition(".")[0]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == own:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def did_you_mean(found: str, allowed: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the closest allowed name, or an empty string."""
    close = difflib.get_close_matches(found, list(allowed), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""

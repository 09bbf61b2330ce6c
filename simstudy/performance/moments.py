"""Sums over replicates that skip missing values and do not depend on anything but the replicates' order.

Each sum runs over one contiguous vector per parameter.  A parameter's numbers therefore do not change in the last bit
when parameters, methods or kinds of SE are added to the table or taken from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

Function = TypeVar("Function", bound=Callable[..., Any])


class Measured(NamedTuple):
    """A performance measure of k parameters: value, Monte Carlo standard error, replicates that entered.

    `jackknife` is the Monte Carlo standard error by the jackknife, for the measures whose formula assumes more than
    independent replicates (normal estimates, SEs independent of estimates); None for the others.
    """

    value: FloatArray
    mcse: FloatArray
    n: IntArray
    jackknife: FloatArray | None = None


class Moments(NamedTuple):
    """Number, mean and standard deviation (divisor n - 1) of what is not missing."""

    n: IntArray
    mean: FloatArray
    sd: FloatArray


def quiet(function: Function) -> Function:
    """Let 0/0 become NaN and overflow become inf in `function`: an estimator without moments may return 1e200."""
    return np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore")(function)


def over_replicates(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return (R, ...) as a contiguous (..., R): reductions over the last axis are then pairwise sums."""
    return np.ascontiguousarray(x.transpose(*range(1, x.ndim), 0))


def total(x: npt.NDArray[np.float64], valid: BoolArray) -> FloatArray:
    """Sum of the valid entries over replicates, (R, ...) -> (...)."""
    summed: FloatArray = np.asarray(over_replicates(np.where(valid, x, 0.0)).sum(axis=-1), dtype=np.float64)
    return summed


def count(valid: BoolArray) -> IntArray:
    """Count the valid entries over replicates, (R, ...) -> (...)."""
    counted: IntArray = np.asarray(valid.sum(axis=0), dtype=np.int64)
    return counted


def missing_unless(valid: BoolArray, x: FloatArray) -> FloatArray:
    """`x` with NaN where it is not valid."""
    return np.where(valid, x, np.nan)


@quiet
def moments(x: FloatArray) -> Moments:
    """Moments over replicates of the finite entries of `x` (R, ...), by two passes."""
    valid = np.isfinite(x)
    n = count(valid)
    mean = total(x, valid) / n
    squares = total((x - mean) ** 2, valid)
    return Moments(n, mean, np.sqrt(np.where(n > 1, squares / (n - 1.0), np.nan)))


def jackknifed(left_out: FloatArray, valid: BoolArray) -> FloatArray:
    """Jackknife standard error from the value without replicate i, (R, k) -> (k,).

    sqrt((n - 1)/n sum((r_i - mean(r))^2)) over the valid replicates (Efron & Stein, 1981, Annals of Statistics 9:586).
    Every measure here gives its r_i in one pass over sums, without a loop.
    """
    n = count(valid)
    mean = total(left_out, valid) / n
    spread = total((left_out - mean) ** 2, valid)
    return np.where(n > 1, np.sqrt((n - 1.0) / n * spread), np.nan)


def mean_left_out(x: FloatArray, valid: BoolArray) -> FloatArray:
    """Mean without replicate i, (R, k) -> (R, k)."""
    n = count(valid)
    return np.asarray((total(x, valid) - x) / (n - 1.0), dtype=np.float64)


def variance_left_out(x: FloatArray, valid: BoolArray) -> FloatArray:
    """Variance (divisor n - 2) without replicate i: ((n - 1) s^2 - n/(n - 1) (x_i - mean)^2)/(n - 2)."""
    n = count(valid)
    deviation = x - total(x, valid) / n
    squares = total(deviation**2, valid)
    left = squares - n / (n - 1.0) * deviation**2
    return np.where(n > 2, np.maximum(left, 0.0) / (n - 2.0), np.nan)


def measured(value: FloatArray, mcse: FloatArray, n: IntArray, jackknife: FloatArray | None = None) -> Measured:
    """Put the rule "no replicate, no number" into the result: NaN with n = 0, and no MCSE without a value."""
    value = np.where(n > 0, value, np.nan)
    silent = np.isnan(value)
    return Measured(
        value,
        np.where(silent, np.nan, mcse),
        np.asarray(n, dtype=np.int64),
        None if jackknife is None else np.where(silent, np.nan, jackknife),
    )

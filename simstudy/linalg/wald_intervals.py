"""Coverage, power and width of Wald intervals of estimates that are normal with a known spread.

The estimate is N(limit, se^2); the interval is estimate -+ z times the SE that the method reports, which is taken at
its limit. Its own variability, of relative order 1 / sqrt(J), is left out: this is first-order asymptotics.
"""

from __future__ import annotations

import numpy as np

from simstudy.lazy import special
from simstudy.linalg.stacked import FloatArray

NEWTON_STEPS = 8
"""From these starts four reach the last digit."""


def quantile(level: float) -> float:
    """Normal quantile z of a two-sided interval."""
    return float(special.ndtri(0.5 * (1.0 + level)))


def coverage(
    limit: FloatArray, se: FloatArray, reported: FloatArray, target: FloatArray | float, level: float
) -> FloatArray:
    """P(limit - z reported <= target <= limit + z reported), arrays of one shape."""
    half = quantile(level) * reported
    with np.errstate(all="ignore"):
        inside: FloatArray = special.ndtr((target + half - limit) / se) - special.ndtr((target - half - limit) / se)
    return inside


def misses(
    limit: FloatArray, se: FloatArray, reported: FloatArray, target: FloatArray | float, level: float
) -> tuple[FloatArray, FloatArray]:
    """P(the interval lies below the target), P(it lies above)."""
    half = quantile(level) * reported
    with np.errstate(all="ignore"):
        below: FloatArray = special.ndtr((target - half - limit) / se)
        above: FloatArray = special.ndtr((limit - half - target) / se)
    return below, above


def median_distance(limit: FloatArray, se: FloatArray, target: FloatArray) -> FloatArray:
    """Median of |estimate - target|, that of a folded normal variable (Leone, Nelson & Nottingham 1961)."""
    gap = np.abs(limit - target)
    with np.errstate(all="ignore"):
        shift = gap / se
        found = np.maximum(shift, quantile(0.5))  # between |shift| and |shift| + .67, where Newton's method converges
        for _ in range(NEWTON_STEPS):
            slope = (np.exp(-0.5 * (found - shift) ** 2) + np.exp(-0.5 * (found + shift) ** 2)) / np.sqrt(2.0 * np.pi)
            found = found - (special.ndtr(found - shift) - special.ndtr(-found - shift) - 0.5) / slope
        return np.where(se > 0, found * se, gap)


def rejection(limit: FloatArray, se: FloatArray, reported: FloatArray, level: float) -> FloatArray:
    """P(the interval excludes 0): power, or the type I error rate where the truth is 0."""
    half = quantile(level) * reported
    with np.errstate(all="ignore"):
        outside: FloatArray = special.ndtr((limit - half) / se) + special.ndtr((-limit - half) / se)
    return outside


def width(reported: FloatArray, level: float) -> FloatArray:
    """Width of the interval."""
    return 2.0 * quantile(level) * reported


def negative(limit: FloatArray, se: FloatArray) -> FloatArray:
    """P(estimate <= 0), of interest for variances."""
    with np.errstate(all="ignore"):
        below: FloatArray = special.ndtr(-limit / se)
    return below

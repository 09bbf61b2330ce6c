"""Coverage, power and width of Wald intervals of estimates that are normal with a known spread.

The estimate is N(limit, se^2); the interval is estimate -+ z times the SE that the method reports, which is taken at
its limit. Its own variability, of relative order 1 / sqrt(J), is left out: this is first-order asymptotics.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from simstudy.arrays import FloatArray


def quantile(level: float) -> float:
    """Normal quantile z of a two-sided interval."""
    return float(ndtri(0.5 * (1.0 + level)))


def coverage(
    limit: FloatArray, se: FloatArray, reported: FloatArray, target: FloatArray | float, level: float
) -> FloatArray:
    """P(limit - z reported <= target <= limit + z reported), arrays of one shape."""
    half = quantile(level) * reported
    with np.errstate(all="ignore"):
        inside: FloatArray = ndtr((target + half - limit) / se) - ndtr((target - half - limit) / se)
    return inside


def rejection(limit: FloatArray, se: FloatArray, reported: FloatArray, level: float) -> FloatArray:
    """P(the interval excludes 0): power, or the type I error rate where the truth is 0."""
    half = quantile(level) * reported
    with np.errstate(all="ignore"):
        outside: FloatArray = ndtr((limit - half) / se) + ndtr((-limit - half) / se)
    return outside


def width(reported: FloatArray, level: float) -> FloatArray:
    """Width of the interval."""
    return 2.0 * quantile(level) * reported


def negative(limit: FloatArray, se: FloatArray) -> FloatArray:
    """P(estimate <= 0), of interest for variances."""
    with np.errstate(all="ignore"):
        below: FloatArray = ndtr(-limit / se)
    return below

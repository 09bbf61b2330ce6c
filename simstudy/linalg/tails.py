"""Probabilities of the normal, chi-square and F distributions, from `scipy.special`.

`scipy.stats` computes the same numbers from the same functions, and takes a second to import.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from simstudy.lazy import special
from simstudy.linalg.stacked import FloatArray

NEWTON_STEPS = 200
"""Steps of `noncentrality` at most; it takes about six."""


def normal_density(z: ArrayLike) -> FloatArray:
    """Density of the standard normal distribution."""
    return np.asarray(np.exp(-np.square(np.asarray(z, dtype=np.float64)) / 2.0) / np.sqrt(2.0 * np.pi))


def normal_tail(z: ArrayLike) -> FloatArray:
    """P(Z > z), standard normal."""
    tail: FloatArray = special.ndtr(-np.asarray(z, dtype=np.float64))
    return tail


def chi_square_tail(x: ArrayLike, df: ArrayLike) -> FloatArray:
    """P(X > x); 1 below 0, NaN without degrees of freedom."""
    x, df = np.asarray(x, dtype=np.float64), np.asarray(df, dtype=np.float64)
    tail: FloatArray = special.chdtrc(np.where(df > 0, df, np.nan), np.maximum(x, 0.0))
    return tail


def chi_square_quantile(p: ArrayLike, df: ArrayLike) -> FloatArray:
    """The number below which a chi-square variable is with probability p."""
    found: FloatArray = 2.0 * special.gammaincinv(0.5 * np.asarray(df, dtype=np.float64), p)
    return found


def f_probability(x: ArrayLike, df1: ArrayLike, df2: ArrayLike) -> FloatArray:
    """P(F <= x); 0 below 0."""
    below: FloatArray = special.fdtr(df1, df2, np.maximum(x, 0.0))
    return below


def noncentrality(x: float, df: float, probability: float) -> float:
    """Noncentrality for which P(X <= x) is ``probability``; 0 where it is less without any.

    Newton's method on F(x; df, nc), which falls with nc at the rate {F(x; df, nc) - F(x; df + 2, nc)} / 2 (Johnson,
    Kotz & Balakrishnan 1995, ch. 29), kept between two numbers that enclose the solution.
    """

    def gap(nc: float) -> float:
        return float(special.chndtr(x, df, nc) if nc > 0 else special.chdtr(df, x)) - probability

    if not gap(0.0) > 0:
        return 0.0
    low, high = 0.0, max(x, 1.0)
    while gap(high) > 0:
        low, high = high, 2.0 * high
    nc = 0.5 * (low + high)
    for _ in range(NEWTON_STEPS):
        distance = gap(nc)
        low, high = (nc, high) if distance > 0 else (low, nc)
        rate = 0.5 * (distance + probability - float(special.chndtr(x, df + 2, nc)))
        new = nc + distance / rate if rate > 0 else low
        new = new if low < new < high else 0.5 * (low + high)
        if abs(new - nc) <= 1e-14 * high:
            return new
        nc = new
    return nc

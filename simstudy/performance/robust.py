"""Measures for estimators without moments: a ratio's mean, empirical SE and RMSE may hang on one replicate.

The between slope of MSEM is such a ratio (theory B8).  Medians and trimmed means of its estimates exist and settle
down with the number of replicates.  Arrays and results are as in `measures`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, ndtri

from simstudy.performance.moments import (
    FloatArray,
    IntArray,
    Measured,
    count,
    measured,
    missing_unless,
    over_replicates,
    quiet,
)

TRIM = 0.2
"""Share trimmed at each end (Wilcox, 2012, Introduction to Robust Estimation, recommends it for general use)."""
NORMAL_MAD = 1.482602218505602
"""1/normal quantile of .75: makes the median absolute deviation of normal estimates their standard deviation."""


@dataclass(frozen=True)
class Ordered:
    """What is not missing, sorted.

    Parameters
    ----------
    values : ndarray, (k, R)
        In increasing order, NaN last.
    n : ndarray of int, (k,)
        How many are not missing.
    """

    values: FloatArray
    n: IntArray

    @classmethod
    def of(cls, x: FloatArray) -> Ordered:
        """Sort (R, k) over replicates."""
        valid = np.isfinite(x)
        return cls(np.sort(over_replicates(missing_unless(valid, x)), axis=-1), count(valid))

    def statistic(self, rank: IntArray) -> FloatArray:
        """Order statistic of each parameter, ranks (k,) from 1; NaN where there are no replicates at all."""
        if self.values.shape[-1] == 0:
            return np.full(self.n.shape, np.nan)
        index = np.minimum(np.maximum(rank - 1, 0), self.values.shape[-1] - 1)
        return np.asarray(self.values[np.arange(len(index)), index])

    def median(self) -> FloatArray:
        """Medians, (k,)."""
        return np.asarray(0.5 * (self.statistic((self.n + 1) // 2) + self.statistic(self.n // 2 + 1)))


@quiet
def median_with_error(x: FloatArray) -> Measured:
    """Median over replicates; MCSE from the order statistics around it.

    MCSE = (x_(n-c+1) - x_(c))/(2z) with c = (n+1)/2 - sqrt(n), rounded and at least 1, and z the normal quantile that
    belongs to the exact binomial coverage 1 - 2 P(Bin(n, 1/2) <= c - 1) of that interval (Price & Bonett, 2001).
    """
    ordered = Ordered.of(x)
    n = ordered.n
    rank = np.maximum(np.rint((n + 1) / 2 - np.sqrt(n)).astype(np.int64), 1)
    z = -ndtri(bdtr((rank - 1).astype(np.float64), np.maximum(n, 1), 0.5))
    half = (ordered.statistic(n - rank + 1) - ordered.statistic(rank)) / (2.0 * z)
    return measured(ordered.median(), np.where(n > 1, half, np.nan), n)


@quiet
def median_bias(estimate: FloatArray, truth: FloatArray) -> Measured:
    """Median bias = median(est) - truth."""
    middle = median_with_error(estimate)
    return measured(middle.value - truth, middle.mcse, middle.n)


@quiet
def trimmed_bias(estimate: FloatArray, truth: FloatArray) -> Measured:
    """Trimmed bias = mean of the estimates without the g smallest and g largest - truth, g = floor(.2 n).

    MCSE = s_w/((1 - 2 g/n) sqrt(n)), s_w the standard deviation of the winsorised estimates, whose g smallest and
    largest are set to the nearest kept one (Tukey & McLaughlin, 1963; Yuen, 1974, Biometrika 61:165).
    """
    ordered = Ordered.of(estimate)
    n = ordered.n
    cut = np.floor(TRIM * n).astype(np.int64)
    place = np.arange(ordered.values.shape[-1])
    kept = (place >= cut[:, None]) & (place < (n - cut)[:, None])
    mean = np.where(kept, ordered.values, 0.0).sum(axis=-1) / (n - 2 * cut)
    low, high = ordered.statistic(cut + 1), ordered.statistic(n - cut)
    winsorised = np.minimum(np.maximum(ordered.values, low[:, None]), high[:, None])
    there = place < n[:, None]
    centre = np.where(there, winsorised, 0.0).sum(axis=-1) / n
    squares = np.where(there, (winsorised - centre[:, None]) ** 2, 0.0).sum(axis=-1)
    spread = np.sqrt(squares / (n - 1.0))
    mcse = spread / ((1.0 - 2.0 * cut / n) * np.sqrt(n))
    return measured(mean - truth, np.where(n > 1, mcse, np.nan), n)


@quiet
def mad_se(estimate: FloatArray) -> Measured:
    """1.4826 median(|est - median(est)|); MCSE as of the median of these distances.

    That the centre is estimated does not matter in large samples of a distribution symmetric about it.
    """
    centre = Ordered.of(estimate).median()
    distance = median_with_error(np.abs(estimate - centre))
    single = distance.n < 2
    value = np.where(single, np.nan, NORMAL_MAD * distance.value)
    return measured(value, NORMAL_MAD * distance.mcse, distance.n)


@quiet
def median_abs_error(estimate: FloatArray, truth: FloatArray) -> Measured:
    """Median of |est - truth|; .67 RMSE for unbiased normal estimates."""
    found = median_with_error(np.abs(estimate - truth))
    return measured(found.value, found.mcse, count(np.isfinite(estimate)))


def median_se(se: FloatArray) -> Measured:
    """Median of the standard errors."""
    return median_with_error(se)

"""Performance measures that are shares of replicates, and interval width.

Every function takes limits (R, k) with NaN where a replicate has no interval, and returns `Measured(value, mcse, n)`.
"""

from __future__ import annotations

import numpy as np

from simstudy.performance.moments import (
    BoolArray,
    FloatArray,
    IntArray,
    Measured,
    count,
    measured,
    moments,
    quiet,
    total,
)

WILSON_Z = 1.959963984540054
"""Normal quantile of the 95 % Wilson interval, whatever the level of the study's own intervals."""


@quiet
def rate(success: BoolArray, valid: BoolArray) -> Measured:
    """Share of successes among the valid replicates (R, ...); MCSE = sqrt(p(1 - p)/n).

    At p = 0 or p = 1 that MCSE is 0, as if the rate were known.  There it is the half-width of Wilson's (1927) interval
    over z, which at these ends is z/(2(n + z^2)): .00098 at n = 1,000, about the MCSE of a single success.
    """
    return _rate_of(count(success & valid), count(valid))


def _rate_of(hits: IntArray, n: IntArray) -> Measured:
    p = hits / n
    at_end = (hits == 0) | (hits == n)
    mcse = np.where(at_end, WILSON_Z / (2.0 * (n + WILSON_Z**2)), np.sqrt(p * (1.0 - p) / n))
    return measured(p, mcse, n)


def has_interval(lower: FloatArray, upper: FloatArray) -> BoolArray:
    """Tell where both limits are numbers."""
    return np.asarray(np.isfinite(lower) & np.isfinite(upper))


@quiet
def coverage(lower: FloatArray, upper: FloatArray, truth: FloatArray) -> Measured:
    """Share of intervals that contain the truth, lower <= truth <= upper; NaN where the truth is unknown."""
    return _known_truth(rate((lower <= truth) & (truth <= upper), has_interval(lower, upper)), truth)


@quiet
def bias_eliminated_coverage(estimate: FloatArray, lower: FloatArray, upper: FloatArray) -> Measured:
    """Share of intervals that contain the mean of the estimates whose intervals are counted."""
    valid = has_interval(lower, upper) & np.isfinite(estimate)
    centre = total(estimate, valid) / count(valid)
    return rate((lower <= centre) & (centre <= upper), valid)


@quiet
def rejection(lower: FloatArray, upper: FloatArray) -> Measured:
    """Share of intervals that exclude 0: power, or the type I error rate where the truth is 0."""
    return rate((lower > 0.0) | (upper < 0.0), has_interval(lower, upper))


@quiet
def miss_below(lower: FloatArray, upper: FloatArray, truth: FloatArray) -> Measured:
    """Share of intervals that lie below the truth, upper < truth; with `coverage` and `miss_above` they make 1."""
    return _known_truth(rate(upper < truth, has_interval(lower, upper)), truth)


@quiet
def miss_above(lower: FloatArray, upper: FloatArray, truth: FloatArray) -> Measured:
    """Share of intervals that lie above the truth, lower > truth."""
    return _known_truth(rate(lower > truth, has_interval(lower, upper)), truth)


def _known_truth(share: Measured, truth: FloatArray) -> Measured:
    return measured(np.where(np.isfinite(truth), share.value, np.nan), share.mcse, share.n)


@quiet
def rate_bounds(success: BoolArray, valid: BoolArray, tried: IntArray) -> tuple[Measured, Measured]:
    """Rate over all replicates tried, if every one without a number were a miss, and if it were a hit.

    The rate of a method that had never failed lies between the two, whatever the failures have to do with the data
    (Manski, 2003).

    Parameters
    ----------
    success, valid : ndarray of bool, (R, k)
        Hits, and where there is a number at all.
    tried : ndarray of int, (k,)
        Replicates tried; those without a valid number are the failures.
    """
    hits, n = count(success & valid), np.asarray(tried, dtype=np.int64)
    lost = n - count(valid)
    return _rate_of(hits, n), _rate_of(hits + lost, n)


@quiet
def coverage_bounds(
    lower: FloatArray, upper: FloatArray, truth: FloatArray, tried: IntArray
) -> tuple[Measured, Measured]:
    """Bounds of coverage over all replicates tried (`rate_bounds`); NaN where the truth is unknown."""
    low, high = rate_bounds((lower <= truth) & (truth <= upper), has_interval(lower, upper), tried)
    return _known_truth(low, truth), _known_truth(high, truth)


@quiet
def rejection_bounds(lower: FloatArray, upper: FloatArray, tried: IntArray) -> tuple[Measured, Measured]:
    """Bounds of the rejection rate over all replicates tried (`rate_bounds`)."""
    return rate_bounds((lower > 0.0) | (upper < 0.0), has_interval(lower, upper), tried)


@quiet
def ci_width(lower: FloatArray, upper: FloatArray) -> Measured:
    """Mean width of the intervals; MCSE = sd(width)/sqrt(n)."""
    n, mean, sd = moments(upper - lower)
    return measured(mean, sd / np.sqrt(n), n)


def convergence(ok: BoolArray, supported: BoolArray, unrecorded: int = 0) -> Measured:
    """Share of status OK (R, ...) among the replicates that the method supports.

    `unrecorded` adds attempts that left no row; they count as not converged.  A method that does not support the design
    was not tried: NaN with n = 0, not 0.
    """
    lost = np.zeros((unrecorded, *ok.shape[1:]), dtype=np.bool_)
    return rate(np.concatenate([ok, lost]), np.concatenate([supported, ~lost]))


def admissibility(ok: BoolArray, admissible: BoolArray) -> Measured:
    """Share of admissible solutions (no negative variance, Sigma_between PSD) among the converged (R, ...)."""
    return rate(admissible, ok)

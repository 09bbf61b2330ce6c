"""Differences between a method and the reference method on the same replicates.

Both saw the same data, so that their difference varies far less than two independent studies would tell.  Arrays (R, k)
with NaN for what is missing; a replicate enters where both methods have the number.
"""

from __future__ import annotations

import numpy as np

from simstudy.performance.measures import mean_estimate
from simstudy.performance.moments import (
    BoolArray,
    FloatArray,
    Measured,
    count,
    jackknifed,
    mean_left_out,
    measured,
    missing_unless,
    moments,
    quiet,
    total,
    variance_left_out,
)
from simstudy.performance.rates import WILSON_Z, has_interval


@quiet
def bias_difference(estimate: FloatArray, reference: FloatArray) -> Measured:
    """Difference in bias = mean(est - est_ref); MCSE = sd(est - est_ref)/sqrt(n)."""
    return mean_estimate(estimate - reference)


@quiet
def rmse_difference(estimate: FloatArray, reference: FloatArray, truth: FloatArray) -> Measured:
    """Difference in RMSE; MCSE by the jackknife, which leaves a replicate out of both."""
    valid = np.isfinite(estimate) & np.isfinite(reference)
    mine, theirs = (missing_unless(valid, (x - truth) ** 2) for x in (estimate, reference))
    n = count(valid)
    value = np.sqrt(total(mine, valid) / n) - np.sqrt(total(theirs, valid) / n)
    left_out = _root_left_out(mine, valid) - _root_left_out(theirs, valid)
    mcse = jackknifed(left_out, valid)
    return measured(value, mcse, n, mcse)


def _root_left_out(x: FloatArray, valid: BoolArray) -> FloatArray:
    return np.asarray(np.sqrt(np.maximum(mean_left_out(x, valid), 0.0)))


@quiet
def relative_precision(estimate: FloatArray, reference: FloatArray) -> Measured:
    """Gain in precision over the reference = (EmpSE_ref/EmpSE)^2 - 1.

    MCSE = 2 (EmpSE_ref/EmpSE)^2 sqrt((1 - r^2)/(n - 1)), r the correlation of the two methods' estimates over
    replicates (White, 2010, Stata Journal 10:369; theory B9); normal estimates are assumed, by the jackknife not.
    """
    valid = np.isfinite(estimate) & np.isfinite(reference)
    mine, theirs = missing_unless(valid, estimate), missing_unless(valid, reference)
    n, mean, sd = moments(mine)
    _, mean_ref, sd_ref = moments(theirs)
    ratio = np.where(sd > 0.0, (sd_ref / sd) ** 2, np.nan)
    r = total((mine - mean) * (theirs - mean_ref), valid) / ((n - 1.0) * sd * sd_ref)
    mcse = 2.0 * ratio * np.sqrt(np.maximum(1.0 - r**2, 0.0) / (n - 1.0))
    left_out = variance_left_out(theirs, valid) / variance_left_out(mine, valid)
    return measured(ratio - 1.0, mcse, n, jackknifed(left_out, valid))


@quiet
def rate_difference(hit: BoolArray, hit_reference: BoolArray, valid: BoolArray) -> Measured:
    """Difference of two rates on the same replicates (R, k); MCSE = sd of the difference of the two indicators/sqrt(n).

    Where the methods agree in every replicate that is 0, as if the difference were known; there it is the MCSE of a
    rate of 0 (see `rates.rate`).
    """
    difference = hit.astype(np.float64) - hit_reference.astype(np.float64)
    n, mean, sd = moments(missing_unless(valid, difference))
    never = count(valid & (hit != hit_reference)) == 0
    mcse = np.where(never, WILSON_Z / (2.0 * (n + WILSON_Z**2)), sd / np.sqrt(n))
    return measured(mean, mcse, n)


@quiet
def coverage_difference(
    lower: FloatArray, upper: FloatArray, lower_ref: FloatArray, upper_ref: FloatArray, truth: FloatArray
) -> Measured:
    """Coverage minus that of the reference; NaN where the truth is unknown."""
    valid = has_interval(lower, upper) & has_interval(lower_ref, upper_ref)
    found = rate_difference((lower <= truth) & (truth <= upper), (lower_ref <= truth) & (truth <= upper_ref), valid)
    return measured(np.where(np.isfinite(truth), found.value, np.nan), found.mcse, found.n)


@quiet
def rejection_difference(
    lower: FloatArray, upper: FloatArray, lower_ref: FloatArray, upper_ref: FloatArray
) -> Measured:
    """Rejection rate minus that of the reference."""
    valid = has_interval(lower, upper) & has_interval(lower_ref, upper_ref)
    return rate_difference((lower > 0.0) | (upper < 0.0), (lower_ref > 0.0) | (upper_ref < 0.0), valid)


@quiet
def ci_width_difference(lower: FloatArray, upper: FloatArray, lower_ref: FloatArray, upper_ref: FloatArray) -> Measured:
    """Mean of width - width_ref; MCSE = its sd/sqrt(n)."""
    return mean_estimate((upper - lower) - (upper_ref - lower_ref))

"""Performance measures of estimates and standard errors, each with its Monte Carlo standard error.

Every function takes arrays (R, k), replicates by parameters, with NaN (or inf) where a replicate has no number, and
returns `Measured(value, mcse, n)` of shape (k,).  `n` counts the replicates that entered; a measure without a replicate
is NaN with n = 0.  Where the truth is unknown (NaN) a measure that needs it is NaN and `n` still counts what is there.

Formulas: Morris, White & Crowther (2019, Table 6), checked against 8,000 repeated studies in THEORY.md B9.
"""

from __future__ import annotations

import numpy as np
from scipy.special import bdtr, ndtri

from simstudy.performance.moments import (
    FloatArray,
    Measured,
    count,
    measured,
    missing_unless,
    moments,
    over_replicates,
    quiet,
    total,
)


@quiet
def mean_estimate(estimate: FloatArray) -> Measured:
    """Mean of the estimates; MCSE = EmpSE/sqrt(n)."""
    n, mean, sd = moments(estimate)
    return measured(mean, sd / np.sqrt(n), n)


@quiet
def bias(estimate: FloatArray, truth: FloatArray) -> Measured:
    """Bias = mean(est) - truth; MCSE = EmpSE/sqrt(n)."""
    n, mean, sd = moments(estimate)
    return measured(mean - truth, sd / np.sqrt(n), n)


@quiet
def relative_bias(estimate: FloatArray, truth: FloatArray) -> Measured:
    """Relative bias = (mean(est) - truth)/truth; MCSE = EmpSE/(|truth| sqrt(n)); NaN where the truth is 0."""
    divisor = np.where(truth == 0.0, np.nan, truth)
    n, mean, sd = moments(estimate)
    return measured((mean - truth) / divisor, sd / (np.abs(divisor) * np.sqrt(n)), n)


@quiet
def median_bias(estimate: FloatArray, truth: FloatArray) -> Measured:
    """Median bias = median(est) - truth; MCSE from the order statistics around the median.

    The between slope of MSEM is a ratio without finite moments (THEORY.md B8): its mean, bias and RMSE may be decided
    by one replicate; its median is not.  MCSE = (est_(n-c+1) - est_(c))/(2z) with c = (n+1)/2 - sqrt(n), rounded and at
    least 1, and z the normal quantile that belongs to the exact binomial coverage 1 - 2 P(Bin(n, 1/2) <= c - 1) of that
    interval (Price & Bonett, 2001).
    """
    valid = np.isfinite(estimate)
    n = count(valid)
    ordered = np.sort(over_replicates(missing_unless(valid, estimate)), axis=-1)  # NaN goes last

    def order_statistic(rank: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> FloatArray:
        index = np.clip(rank - 1, 0, max(ordered.shape[-1] - 1, 0))
        return np.asarray(np.take_along_axis(ordered, index[..., None], axis=-1)[..., 0])

    if ordered.shape[-1] == 0:
        return measured(np.full(n.shape, np.nan), np.full(n.shape, np.nan), n)
    median = 0.5 * (order_statistic((n + 1) // 2) + order_statistic(n // 2 + 1))
    rank = np.maximum(np.rint((n + 1) / 2 - np.sqrt(n)).astype(np.int64), 1)
    z = -ndtri(bdtr((rank - 1).astype(np.float64), np.maximum(n, 1), 0.5))
    half = (order_statistic(n - rank + 1) - order_statistic(rank)) / (2.0 * z)
    return measured(median - truth, np.where(n > 1, half, np.nan), n)


@quiet
def empirical_se(estimate: FloatArray) -> Measured:
    """EmpSE = sqrt(sum((est - mean)^2)/(n - 1)); MCSE = EmpSE/sqrt(2(n - 1)), exact for normal estimates."""
    n, _, sd = moments(estimate)
    return measured(sd, sd / np.sqrt(2.0 * (n - 1.0)), n)


@quiet
def rmse(estimate: FloatArray, truth: FloatArray) -> Measured:
    """RMSE = sqrt(mean((est - truth)^2)); MCSE by the jackknife in one pass.

    With d = est - truth and S = sum(d^2), leaving replicate i out gives r_i = sqrt((S - d_i^2)/(n - 1)), so the
    jackknife variance (n - 1)/n sum((r_i - mean(r))^2) needs O(n) operations and no loop.
    """
    valid = np.isfinite(estimate)
    n = count(valid)
    squared = (estimate - truth) ** 2
    sum_of_squares = total(squared, valid)
    left_out = np.sqrt(np.maximum(sum_of_squares - squared, 0.0) / (n - 1.0))
    mean = total(left_out, valid) / n
    spread = total((left_out - mean) ** 2, valid)
    mcse = np.where(n > 1, np.sqrt((n - 1.0) / n * spread), np.nan)
    return measured(np.sqrt(sum_of_squares / n), mcse, n)


@quiet
def mean_se(se: FloatArray) -> Measured:
    """Mean of the standard errors (Mplus' "S.E. Average"); MCSE = sd(SE)/sqrt(n)."""
    n, mean, sd = moments(se)
    return measured(mean, sd / np.sqrt(n), n)


@quiet
def model_se(se: FloatArray) -> Measured:
    """ModSE = sqrt(mean(SE^2)); MCSE = sqrt(Var(SE^2)/(4 n ModSE^2))."""
    n, mean, sd = moments(se**2)
    value = np.sqrt(mean)
    return measured(value, sd / (2.0 * np.sqrt(n) * value), n)


@quiet
def se_ratio(estimate: FloatArray, se: FloatArray) -> Measured:
    """SE ratio = ModSE/EmpSE; MCSE = ratio sqrt(Var(SE^2)/(4 n ModSE^4) + 1/(2(n - 1))).

    Both are taken over the replicates that have an estimate and an SE, so that a missing SE does not compare two sets
    of data.  100(ratio - 1) is Morris, White & Crowther's relative error in model SE, with 100 times this MCSE.
    """
    valid = np.isfinite(estimate) & np.isfinite(se)
    n, mean, sd = moments(missing_unless(valid, se**2))
    empirical = moments(missing_unless(valid, estimate)).sd
    ratio = np.where(empirical > 0.0, np.sqrt(mean) / empirical, np.nan)
    return measured(ratio, ratio * np.sqrt((sd / mean) ** 2 / (4.0 * n) + 1.0 / (2.0 * (n - 1.0))), n)

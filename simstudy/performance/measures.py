"""Performance measures of estimates and standard errors, each with its Monte Carlo standard error.

Every function takes arrays (R, k), replicates by parameters, with NaN (or inf) where a replicate has no number, and
returns `Measured(value, mcse, n)` of shape (k,).  `n` counts the replicates that entered; a measure without a replicate
is NaN with n = 0.  Where the truth is unknown (NaN) a measure that needs it is NaN and `n` still counts what is there.

Formulas: Morris, White & Crowther (2019, Table 6), checked against 8,000 repeated studies in theory B9.
"""

from __future__ import annotations

import numpy as np

from simstudy.performance.moments import (
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
def empirical_se(estimate: FloatArray) -> Measured:
    """EmpSE = sqrt(sum((est - mean)^2)/(n - 1)); MCSE = EmpSE/sqrt(2(n - 1)), exact for normal estimates."""
    n, _, sd = moments(estimate)
    valid = np.isfinite(estimate)
    jackknife = jackknifed(np.sqrt(variance_left_out(estimate, valid)), valid)
    return measured(sd, sd / np.sqrt(2.0 * (n - 1.0)), n, jackknife)


@quiet
def mse(estimate: FloatArray, truth: FloatArray) -> Measured:
    """MSE = mean((est - truth)^2); MCSE = sqrt(sum(((est - truth)^2 - MSE)^2)/(n(n - 1)))."""
    n, mean, sd = moments((estimate - truth) ** 2)
    return measured(mean, sd / np.sqrt(n), count(np.isfinite(estimate)))


@quiet
def rmse(estimate: FloatArray, truth: FloatArray) -> Measured:
    """RMSE = sqrt(mean((est - truth)^2)); MCSE by the jackknife."""
    valid = np.isfinite(estimate)
    n = count(valid)
    squared = (estimate - truth) ** 2
    mcse = jackknifed(np.sqrt(np.maximum(mean_left_out(squared, valid), 0.0)), valid)
    return measured(np.sqrt(total(squared, valid) / n), mcse, n, mcse)


@quiet
def mean_se(se: FloatArray) -> Measured:
    """Mean of the standard errors (Mplus' "S.E. Average"); MCSE = sd(SE)/sqrt(n)."""
    n, mean, sd = moments(se)
    return measured(mean, sd / np.sqrt(n), n)


@quiet
def model_se(se: FloatArray) -> Measured:
    """ModSE = sqrt(mean(SE^2)); MCSE = sqrt(Var(SE^2)/(4 n ModSE^2))."""
    squared = se**2
    n, mean, sd = moments(squared)
    value = np.sqrt(mean)
    valid = np.isfinite(squared)
    jackknife = jackknifed(np.sqrt(mean_left_out(squared, valid)), valid)
    return measured(value, sd / (2.0 * np.sqrt(n) * value), n, jackknife)


@quiet
def se_ratio(estimate: FloatArray, se: FloatArray) -> Measured:
    """SE ratio = ModSE/EmpSE; MCSE = ratio sqrt(Var(SE^2)/(4 n ModSE^4) + 1/(2(n - 1))).

    Both are taken over the replicates that have an estimate and an SE, so that a missing SE does not compare two sets
    of data.  100(ratio - 1) is Morris, White & Crowther's relative error in model SE, with 100 times this MCSE.  The
    jackknife assumes neither normal estimates nor SEs that are independent of them.
    """
    valid = np.isfinite(estimate) & np.isfinite(se)
    squared, paired = missing_unless(valid, se**2), missing_unless(valid, estimate)
    n, mean, sd = moments(squared)
    empirical = moments(paired).sd
    ratio = np.where(empirical > 0.0, np.sqrt(mean) / empirical, np.nan)
    mcse = ratio * np.sqrt((sd / mean) ** 2 / (4.0 * n) + 1.0 / (2.0 * (n - 1.0)))
    left_out = np.sqrt(mean_left_out(squared, valid) / variance_left_out(paired, valid))
    return measured(ratio, mcse, n, jackknifed(left_out, valid))

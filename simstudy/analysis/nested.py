"""Tests of restrictions: Wald tests of equations, likelihood-ratio tests of nested models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from simstudy.analysis.derived import require_solution
from simstudy.analysis.result import Fit
from simstudy.errors import EstimatorError, ModelError, did_you_mean
from simstudy.model.expressions import parse_expression


@dataclass(frozen=True)
class Test:
    """A chi-square test.

    Attributes
    ----------
    statistic : float
    df : int
    pvalue : float
    scaling : float
        Factor the statistic was divided by (NaN where none).
    """

    statistic: float
    df: int
    pvalue: float
    scaling: float = np.nan


def wald_test(fit: Fit, restrictions: str) -> Test:
    """Wald test of equations among parameters, with the fit's own covariance matrix.

    Parameters
    ----------
    restrictions : str
        ``a == b``, ``ind == 0``, several separated by ``;`` or line ends; labels and ``:=`` parameters.

    Raises
    ------
    ModelError
        Unknown labels, or restrictions that repeat each other.
    """
    require_solution(fit)
    model = fit.model
    defined = model.estimands.jacobian(fit.params[None])[0]
    values = np.concatenate([fit.params, model.estimands.evaluate(fit.params[None])[0]])
    jacobian = np.concatenate([np.eye(len(fit.params)), defined])
    names = model.reported
    env: dict[str, Any] = {**model.table.constants, **dict(zip(names, values.tolist(), strict=True))}
    gaps, rows = [], []
    for text in filter(None, (part.strip() for line in restrictions.splitlines() for part in line.split(";"))):
        left, equals, right = text.partition("==")
        if not equals:
            raise ModelError(f"restriction '{text}' has no '=='")
        sides = [parse_expression(side, f"restriction '{text}'") for side in (left, right)]
        for side in sides:
            for name in side.names:
                if name not in env:
                    raise ModelError(f"restriction '{text}': unknown parameter '{name}'{did_you_mean(name, env)}")
        gaps.append(float(sides[0].evaluate(env)) - float(sides[1].evaluate(env)))
        row = np.zeros(len(fit.params))
        for side, sign in zip(sides, (1.0, -1.0), strict=True):
            for name, slope in side.gradient(env).items():
                if name in names:
                    row += sign * float(slope) * jacobian[names.index(name)]
        rows.append(row)
    if not rows:
        raise ModelError("there is no restriction to test")
    r = np.array(rows)
    middle = r @ fit.covariance @ r.T
    if np.linalg.matrix_rank(middle) < len(r):
        raise ModelError("the restrictions repeat each other, or hold by construction")
    gap = np.array(gaps)
    statistic = float(gap @ np.linalg.solve(middle, gap))
    return Test(statistic, len(r), float(stats.chi2.sf(statistic, len(r))))


def likelihood_ratio_test(restricted: Fit, full: Fit) -> Test:
    """Likelihood-ratio test of nested models fitted to the same data; scaled where both have robust SEs.

    The scaled difference divides by (q0 c0 - q1 c1) / (q0 - q1), with q and c the numbers of parameters and the MLR
    scaling factors of the models (Satorra & Bentler 2001; THEORY C11).

    Raises
    ------
    EstimatorError
        Different data, no fewer parameters, or a fit without a likelihood of the two-level model.
    """
    for fit in (restricted, full):
        if not fit.converged or fit.estimator != "msem":
            raise EstimatorError("both models must be converged fits of msem")
    if (restricted.n_obs, restricted.sizes) != (full.n_obs, full.sizes) or set(restricted.model.variables) != set(
        full.model.variables
    ):
        raise EstimatorError("the models were fitted to different data")
    h0, h1 = restricted.measures.get("unrestricted_loglik", np.nan), full.measures.get("unrestricted_loglik", np.nan)
    if np.isfinite([h0, h1]).all() and abs(h0 - h1) > 1e-6 * (1.0 + abs(h1)):
        raise EstimatorError("the models were fitted to different data: their unrestricted log-likelihoods differ")
    q0, q1 = restricted.measures["npar"], full.measures["npar"]
    df = int(q1 - q0)
    if df <= 0:
        raise EstimatorError("the first model must have fewer free parameters than the second")
    statistic = 2.0 * (full.measures["loglik"] - restricted.measures["loglik"])
    c0, c1 = restricted.measures.get("scaling_h0", np.nan), full.measures.get("scaling_h0", np.nan)
    scaling = (q1 * c1 - q0 * c0) / df
    if np.isfinite(scaling):
        statistic /= scaling
    return Test(statistic, df, float(stats.chi2.sf(statistic, df)), scaling)

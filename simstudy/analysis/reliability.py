"""Reliability of composites by level: omega within and between, and Lai's coefficients of observed composites.

A composite is the unweighted sum of the indicators of a factor. With lambda, psi and Sigma of a level (loadings, the
factor's implied variance, implied covariance matrix of the indicators), and 1 a vector of ones,

    omega    = (1'lambda)^2 psi / 1'Sigma 1,    of one level's latent composite (Geldhof, Preacher & Zyphur 2014),

the share of the variance of that level's part of the sum that is the factor's. Clusters' means and raw sums are
observed composites, which these do not describe. With n the harmonic mean of the cluster sizes (Lai 2021),

    omega_b  = (1'lambda_B)^2 psi_B / (1'Sigma_B 1 + 1'Sigma_W 1 / n),    of cluster means, shared construct,
    irr      = 1'Sigma_B 1 / (1'Sigma_B 1 + 1'Sigma_W 1 / n),             of cluster means, agreement of raters,
    omega_2l = {(1'lambda_W)^2 psi_W + (1'lambda_B)^2 psi_B} / (1'Sigma_W 1 + 1'Sigma_B 1),
                                                                          of raw sums, configural construct.

For within-cluster constructs Lai's coefficient is omega of the within level. A configural construct is the same one at
both levels: its loadings are equal, and the coefficient means what it says only then. What a researcher's construct is,
is no matter of the data; all that apply are reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from simstudy.analysis.derived import require_solution
from simstudy.analysis.result import FitRecord
from simstudy.analysis.slopes import refuse_slopes
from simstudy.errors import EstimatorError
from simstudy.estimation.inference import normal_draws
from simstudy.linalg.stacked import FloatArray, IntArray
from simstudy.linalg.wald_intervals import quantile
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.parameters import LEVEL_NAMES
from simstudy.model.representation import fill
from simstudy.model.twolevel import TwoLevelModel

COLUMNS = ("factor", "level", "coefficient", "indicators", "est", "se", "ci_lower", "ci_upper")
STEP = 1e-5


@dataclass(frozen=True)
class Composite:
    """A factor of a level and its indicators.

    Attributes
    ----------
    factor, level : str
    indicators : tuple of str
    """

    factor: str
    level: str
    indicators: tuple[str, ...]


def composites(model: TwoLevelModel) -> list[Composite]:
    """Factors of each level with two observed indicators or more, in the model's order."""
    found = []
    for level in LEVEL_NAMES:
        rows = [row for row in model.table.at(level) if row.op == "=~"]
        observed = set(model.observed(level))
        for factor in dict.fromkeys(row.lhs for row in rows):
            indicators = tuple(row.rhs for row in rows if row.lhs == factor and row.rhs in observed)
            if len(indicators) > 1:
                found.append(Composite(factor, level, indicators))
    return found


def reliability(
    fit: FitRecord,
    *,
    ci: Literal["delta", "montecarlo"] = "delta",
    ci_level: float = 0.95,
    draws: int = 2000,
    seed: int = 1,
) -> pd.DataFrame:
    """Reliability of the composites of a fit's factors, by level.

    Parameters
    ----------
    fit : FitRecord
    ci : str
        ``delta``: SE by the delta method with the fit's own covariance matrix, limits on the logit scale (Raykov &
        Marcoulides 2011); ``montecarlo``: percentiles of draws from the estimates' normal distribution.
    ci_level : float
    draws, seed : int
        Of ``montecarlo``.

    Returns
    -------
    DataFrame
        factor, level, coefficient (``omega``, ``omega_b``, ``irr``, ``omega_2l``: see the module), indicators, est, se,
        ci_lower, ci_upper. ``omega_b`` and ``irr`` stand with between factors whose indicators are on both levels,
        ``omega_2l`` (level ``both``) with pairs of a within and a between factor with the same indicators. Limits are
        NaN where an estimate is not between 0 and 1 (``delta``).

    Raises
    ------
    EstimatorError
        Without a converged fit of the two-level model, or without a factor.

    Examples
    --------
    >>> from simstudy.analysis.reliability import reliability
    >>> table = reliability(fit)  # doctest: +SKIP
    """
    refuse_slopes(fit, "reliabilities")
    require_solution(fit)
    if ci not in ("delta", "montecarlo"):
        raise EstimatorError(f"ci: found '{ci}'; allowed: delta, montecarlo")
    if not 0.0 < ci_level < 1.0:
        raise EstimatorError(f"ci_level: found {ci_level}; it must lie between 0 and 1")
    found = composites(fit.model)
    if not found:
        raise EstimatorError("the model has no factor with two observed indicators or more ('f =~ y1 + y2')")
    coefficients = _Coefficients(fit.model, found, float(len(fit.sizes) / np.sum(1.0 / np.array(fit.sizes))))
    estimate = coefficients(fit.params[None])[0]
    covariance = np.nan_to_num(fit.covariance)
    jacobian = np.empty((len(estimate), len(fit.params)))
    for k, value in enumerate(fit.params):
        step = np.zeros(len(fit.params))
        step[k] = STEP * max(abs(float(value)), 0.1)
        pair = coefficients(np.stack([fit.params + step, fit.params - step]))
        jacobian[:, k] = (pair[0] - pair[1]) / (2.0 * step[k])
    se = np.sqrt(np.maximum(((jacobian @ covariance) * jacobian).sum(axis=1), 0.0))
    se = np.where(np.isfinite(fit.covariance).any() & (se > 0), se, np.nan)
    if ci == "delta":
        with np.errstate(all="ignore"):
            logit = np.log(estimate / (1.0 - estimate))
            half = quantile(ci_level) * se / (estimate * (1.0 - estimate))
            lower, upper = (1.0 / (1.0 + np.exp(-(logit + sign * half))) for sign in (-1.0, 1.0))
    else:
        drawn = coefficients(normal_draws(fit.params, covariance, draws, seed, "reliability"))
        tail = 100.0 * (1.0 - ci_level) / 2.0
        lower, upper = np.nanpercentile(drawn, [tail, 100.0 - tail], axis=0)
    rows = [
        (*name, float(estimate[i]), float(se[i]), float(lower[i]), float(upper[i]))
        for i, name in enumerate(coefficients.names)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


class _Coefficients:
    """All coefficients of a model as functions of its parameters."""

    def __init__(self, model: TwoLevelModel, found: list[Composite], n: float) -> None:
        self.structure, self.n = TwoLevelStructure.of(model), n
        self.levels = {"within": self.structure.within, "between": self.structure.between}
        self.names: list[tuple[str, str, str, str]] = []
        self.terms: list[tuple[str, Composite, Composite | None]] = []
        within = set(model.level1)
        for one in found:
            self._add("omega", one, None, one.factor, one.level)
            if one.level == "between" and set(one.indicators) <= within:
                self._add("omega_b", one, None, one.factor, "between")
                self._add("irr", one, None, one.factor, "between")
        for one in (c for c in found if c.level == "within"):
            for other in (c for c in found if c.level == "between" and set(c.indicators) == set(one.indicators)):
                name = one.factor if one.factor == other.factor else f"{one.factor}, {other.factor}"
                self._add("omega_2l", one, other, name, "both")

    def _add(self, kind: str, one: Composite, other: Composite | None, name: str, level: str) -> None:
        self.terms.append((kind, one, other))
        self.names.append((name, level, kind, " ".join(one.indicators)))

    def __call__(self, params: FloatArray) -> FloatArray:
        """Coefficients (R, k) at parameters (R, q)."""
        covs = {name: level.implied(params).cov for name, level in self.levels.items()}
        loadings = {name: fill(level.maps, params).paths for name, level in self.levels.items()}
        columns = []
        with np.errstate(all="ignore"):
            for kind, one, other in self.terms:
                true = self._true(covs[one.level], loadings[one.level], one)
                if kind == "omega":
                    columns.append(true / self._total(covs, one.level, one))
                elif kind == "omega_2l":
                    assert other is not None
                    both = true + self._true(covs["between"], loadings["between"], other)
                    total = self._total(covs, "within", one) + self._total(covs, "between", other)
                    columns.append(both / total)
                else:
                    between = self._total(covs, "between", one)
                    mean = between + self._total(covs, "within", one) / self.n
                    columns.append((true if kind == "omega_b" else between) / mean)
        return np.stack(columns, axis=-1)

    def _at(self, level: str, names: tuple[str, ...]) -> IntArray:
        variables = self.levels[level].maps.variables
        return np.array([variables.index(name) for name in names], dtype=np.int64)

    def _true(self, cov: FloatArray, paths: FloatArray, one: Composite) -> FloatArray:
        """(1'lambda)^2 psi (R,)."""
        (factor,) = self._at(one.level, (one.factor,))
        loadings: FloatArray = paths[:, self._at(one.level, one.indicators), factor].sum(axis=-1)
        return loadings**2 * np.asarray(cov[:, factor, factor])

    def _total(self, covs: dict[str, FloatArray], level: str, one: Composite) -> FloatArray:
        """1'Sigma 1 (R,) of the indicators."""
        at = self._at(level, one.indicators)
        total: FloatArray = covs[level][:, at[:, None], at].sum(axis=(-2, -1))
        return total

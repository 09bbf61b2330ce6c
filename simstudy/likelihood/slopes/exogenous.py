"""The part of exogenous variables in the likelihood of a model with random slopes (``fixed_x``; theory D1.6).

Covariates x_ij that live within clusters alone, and level-2 variables w_j, that nothing explains and that covary with
nothing but each other are N(mu_x, Sigma_x) and N(mu_w, Sigma_w) with parameters of their own. The joint density is

    f(y, x, w) = f(y | x, w) f(x) f(w),

so that the log-likelihood given x and w is the joint one minus log f(x) + log f(w), whatever their moments are. With
these held, derivatives with respect to the other parameters are those of the conditional log-likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.data.statistics import TwoLevelStatistics
from simstudy.linalg.stacked import FloatArray, IntArray, columns, inverse_spd, matvec, outer, submatrix
from simstudy.model.exogenous import GivenVariables
from simstudy.model.slope_structure import SlopeStructure


@dataclass(frozen=True)
class _Normal:
    """n vectors of a level: their number, mean (R, k) and scatter about it (R, k, k)."""

    n: int
    mean: FloatArray
    scatter: FloatArray

    def loglik(self, mu: FloatArray, sigma: FloatArray) -> FloatArray:
        """Log-density (R,) under N(mu, sigma); NaN where sigma is not positive definite."""
        precision, ok = inverse_spd(sigma)
        offset = self.mean - mu
        squares = (precision * self.scatter).sum(axis=(-2, -1)) + self.n * (offset * matvec(precision, offset)).sum(-1)
        _, log_det = np.linalg.slogdet(np.where(ok[:, None, None], sigma, np.eye(sigma.shape[-1])))
        value = -0.5 * (self.n * (sigma.shape[-1] * np.log(2.0 * np.pi) + log_det) + squares)
        return np.where(ok, value, np.nan)


class ExogenousPart:
    """The given variables of R data sets: their moments, and their log-density.

    Parameters
    ----------
    statistics : TwoLevelStatistics
        Cluster-wise, in the model's order.
    """

    def __init__(self, structure: SlopeStructure, given: GivenVariables, statistics: TwoLevelStatistics) -> None:
        model = structure.model
        self.structure, self.given = structure, given
        self.at1: IntArray = np.array([model.level1.index(v) for v in given.level1], dtype=np.int64)
        self.at2: IntArray = np.array([structure.p1 + model.level2.index(v) for v in given.level2], dtype=np.int64)
        self.of_u: IntArray = np.array([structure.elements.index(v) for v in given.level2], dtype=np.int64)
        means, scatter = statistics.clusters()
        n = np.asarray(statistics.layout.sizes, dtype=np.float64)
        self.rows = _pooled(columns(means, self.at1), n, submatrix(scatter, self.at1, self.at1))
        self.clusters = _pooled(columns(means, self.at2), np.ones(len(n)), None)

    def anchor(self, params: FloatArray) -> FloatArray:
        """Parameters (R, q) with the given variables' free moments at their sample values."""
        found = params.copy()
        for level, names, part in (
            ("within", self.given.level1, self.rows),
            ("between", self.given.level2, self.clusters),
        ):
            for row in self.structure.model.table.at(level):
                if row.free not in self.given.held or row.lhs not in names:
                    continue
                i = names.index(row.lhs)
                if row.op == "~1":
                    found[:, row.free] = part.mean[:, i]
                else:
                    found[:, row.free] = part.scatter[:, i, names.index(row.rhs)] / part.n
        return found

    def loglik(self, params: FloatArray) -> FloatArray:
        """Log-density (R,) of the given variables at parameters (R, q)."""
        total = np.zeros(len(params))
        for part, level, at in (
            (self.rows, self.structure.within, self.at1),
            (self.clusters, self.structure.between, self.of_u),
        ):
            if len(at):
                implied = level.implied(params)
                total = total + part.loglik(columns(implied.mu, at), submatrix(implied.sigma, at, at))
        return total


def _pooled(means: FloatArray, weights: FloatArray, scatter: FloatArray | None) -> _Normal:
    """From means (R, J, k) of groups with weights (J,), and their scatter (R, J, k, k)."""
    centre = (weights[:, None] * means).sum(axis=1) / weights.sum()
    offset = means - centre[:, None]
    total = (weights[:, None, None] * outer(offset, offset)).sum(axis=1)
    return _Normal(int(weights.sum()), centre, total if scatter is None else total + scatter.sum(axis=1))

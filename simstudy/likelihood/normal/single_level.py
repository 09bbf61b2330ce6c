"""Single-level normal log-likelihood of a structural equation model on means and scatter.

With n units, mean m and scatter C about mu,  -2 l = n log|Sigma| + tr(Sigma^-1 C) + n p log 2 pi.
In the basis of L^-1 (Sigma = L L') Sigma is the identity; "rotated" quantities below are in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.likelihood.normal.half_vectors import Collapse, HalfVectors, frobenius
from simstudy.linalg.stacked import (
    BoolArray,
    FloatArray,
    IntArray,
    cholesky,
    columns,
    inverse,
    matvec,
    outer,
    transpose,
)
from simstudy.model.implied import LevelImplied, LevelStructure


@dataclass(frozen=True)
class Data:
    """Mean (R, p) of the units and scatter (R, p, p) about it."""

    mean: FloatArray
    scatter: FloatArray

    def select(self, replicates: IntArray | BoolArray) -> Data:
        """Some of the replicates."""
        return Data(self.mean[replicates], self.scatter[replicates])


class SingleLevelLikelihood(Likelihood[Data]):
    """Log-likelihood of a single-level model for ``n_units`` independent units.

    Parameters
    ----------
    level : LevelStructure
    n_units : int
        Rows (disaggregated) or clusters (aggregated).
    q : int
        Number of free parameters.
    means : bool
        Whether the mean is part of it; otherwise the scatter alone.
    """

    def __init__(self, level: LevelStructure, n_units: int, q: int, *, means: bool = True) -> None:
        self.level, self.n, self.q, self.means = level, float(n_units), q, means
        p = level.n_observed
        self.half = HalfVectors(p, p)
        self._cov, self._mean = Collapse(level.cov_free), Collapse(level.mean_free)
        self.constant = self.n * p * np.log(2 * np.pi)

    def _rotate(self, params: FloatArray) -> tuple[LevelImplied, FloatArray, FloatArray, BoolArray]:
        implied = self.level.implied(params)
        factor, ok = cholesky(implied.sigma)
        lower, _ = inverse(factor)
        log_det = 2.0 * np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=-1)
        return implied, lower, log_det, ok & implied.ok

    def _moment_derivatives(self, implied: LevelImplied, lower: FloatArray) -> tuple[FloatArray, FloatArray]:
        t = self.level.moment_derivatives(implied)
        left, right = np.matmul(lower, t.left), np.matmul(lower, t.right)
        mean = np.zeros((*lower.shape[:-1], self.q))
        if self.means:
            mean[..., self._mean.free] = self._mean(np.matmul(lower, self.level.mean_derivatives(implied)))
        return self._cov(self.half.moment_derivatives(left, right, len(self.half.row))), mean

    def _scatter(self, implied: LevelImplied, lower: FloatArray, data: Data) -> tuple[FloatArray, FloatArray]:
        """Rotated offset of the mean (R, p) and scatter about mu (R, p, p)."""
        r = matvec(lower, data.mean - implied.mu if self.means else np.zeros_like(implied.mu))
        return r, np.matmul(np.matmul(lower, data.scatter), transpose(lower)) + self.n * outer(r, r)

    def evaluate(self, params: FloatArray, data: Data) -> Evaluation:
        """Log-likelihood, score and expected information at parameters (R, q)."""
        with np.errstate(all="ignore"):
            implied, lower, log_det, ok = self._rotate(params)
            r, scatter = self._scatter(implied, lower, data)
            trace = np.diagonal(scatter, axis1=-2, axis2=-1).sum(axis=-1)
            loglik = np.where(ok, -0.5 * (self.n * log_det + trace + self.constant), -np.inf)
            x, x_mean = self._moment_derivatives(implied, lower)
            grad = self.half.of(self.n * np.eye(r.shape[-1]) - scatter, len(self.half.row))
            score = matvec(transpose(x_mean), self.n * r)
            score[..., self._cov.free] -= matvec(transpose(x), self.half.weight * grad)
            information = self.n * np.matmul(transpose(x_mean), x_mean)
            f = self._cov.free
            information[..., f[:, None], f] += self.n * np.matmul(transpose(x), self.half.weight[:, None] * x)
        ok = ok & np.isfinite(loglik) & np.isfinite(score).all(axis=-1)
        return Evaluation(loglik, score, information, ok)

    def observed_information(self, params: FloatArray, data: Data) -> FloatArray:
        """Minus the exact second derivatives of l (R, q, q)."""
        p, half = self.level.n_observed, self.half
        with np.errstate(all="ignore"):
            implied, lower, _, _ = self._rotate(params)
            r, scatter = self._scatter(implied, lower, data)
            x, x_mean = self._moment_derivatives(implied, lower)
            block = np.zeros((*x.shape[:-2], x.shape[-1], p, p))
            block[..., half.row, half.column] = transpose(x)
            block[..., half.column, half.row] = transpose(x)
            d = np.zeros((*params.shape, p, p))
            d[:, self._cov.free] = block
            kernel = scatter - 0.5 * self.n * np.eye(p)
            result = frobenius(np.matmul(d, kernel[:, None]), d)
            cross = np.matmul(transpose(x_mean), transpose(matvec(d, (self.n * r)[:, None])))
            result += cross + transpose(cross) + self.n * np.matmul(transpose(x_mean), x_mean)
            grad = np.matmul(np.matmul(transpose(lower), self.n * np.eye(p) - scatter), lower)
            grad_mu = matvec(transpose(lower), self.n * r)
            result += self.level.curvature(implied, 0.5 * grad, -grad_mu, self.q)
        return 0.5 * (result + transpose(result))

    def cross_information(
        self, params: FloatArray, other: SingleLevelLikelihood, other_params: FloatArray
    ) -> FloatArray:
        """Derivative of the score of the covariances (R, q, q') where the scatter is n times another model's Sigma.

        n tr(Sigma^-1 Sigma_a Sigma^-1 S_b) / 2, with Sigma at ``params`` (R, q) and S at ``other_params`` (R, q').
        """
        with np.errstate(all="ignore"):
            implied, lower, _, _ = self._rotate(params)
            x, _ = self._moment_derivatives(implied, lower)
            y, _ = other._moment_derivatives(other.level.implied(other_params), lower)
            result = np.zeros((len(params), self.q, other.q))
            block = self.n * np.matmul(transpose(x), self.half.weight[:, None] * y)
            result[:, self._cov.free[:, None], other._cov.free] = block
        return result

    def cluster_scores(
        self, params: FloatArray, sizes: FloatArray, means: FloatArray, scatter: FloatArray | None
    ) -> FloatArray:
        """Scores summed over the units of every cluster (R, J, q).

        Parameters
        ----------
        sizes : (J,)
            Units of each cluster.
        means : (R, J, p)
        scatter : (R, J, p, p) or None
            Scatter of the units about their cluster's mean; None where every cluster is one unit.
        """
        half = self.half
        with np.errstate(all="ignore"):
            implied, lower, _, _ = self._rotate(params)
            x, x_mean = self._moment_derivatives(implied, lower)
            r = np.matmul(means - implied.mu[:, None, :], transpose(lower))
            grad = -sizes[:, None] * columns(r, half.row) * columns(r, half.column)
            if scatter is not None:
                rotated = np.matmul(np.matmul(lower[:, None], scatter), transpose(lower)[:, None])
                grad -= half.of(rotated, len(half.row))
            diagonal = np.flatnonzero(half.row == half.column)
            grad[..., diagonal] += sizes[:, None]
            scores: FloatArray = np.matmul(sizes[:, None] * r, x_mean)
            scores[..., self._cov.free] -= np.matmul(grad * half.weight, x)
        return scores

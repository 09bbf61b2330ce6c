"""Normal likelihood of one level whose variables are known with error: estimates of clusters' coefficients.

Units come in groups g of n_g with the covariance matrix V_g = Sigma(theta) + N_g, where N_g is known: with one group
and the mean sampling covariance for N it subtracts that from the covariance matrix of the estimates, with a group a
cluster it weights clusters by their precision (Raudenbush & Bryk 2002, ch. 3; theory D3.1). Sigma itself may be
indefinite: V must not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.linalg import entrywise
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, cholesky, inverse_spd, matvec, outer, transpose
from simstudy.model.implied import LevelImplied, LevelStructure


@dataclass(frozen=True)
class UnitsWithNoise:
    """Groups of units.

    Attributes
    ----------
    n : (R, G)
        Units; 0 for a group that does not count.
    mean : (R, G, p)
    scatter : (R, G, p, p)
        About ``mean``.
    noise : (R, G or 1, p, p)
        Covariance matrix of the error.
    """

    n: FloatArray
    mean: FloatArray
    scatter: FloatArray
    noise: FloatArray

    def select(self, replicates: IntArray | BoolArray) -> UnitsWithNoise:
        """Some of the replicates."""
        return UnitsWithNoise(*(part[replicates] for part in (self.n, self.mean, self.scatter, self.noise)))


class LevelWithNoise(Likelihood[UnitsWithNoise]):
    """The likelihood, in those free parameters that the level has.

    Parameters
    ----------
    level : LevelStructure
    q : int
        Free parameters of the model.

    Attributes
    ----------
    used : (t,)
        The ones of the level.
    """

    def __init__(self, level: LevelStructure, q: int) -> None:
        self.level, self.q = level, q
        self.used: IntArray = np.unique(np.concatenate([level.cov_free, level.mean_free]))

    def implied(self, params: FloatArray) -> LevelImplied:
        """Moments of the level at its parameters (R, t)."""
        return self.level.implied(self.whole(params))

    def whole(self, params: FloatArray) -> FloatArray:
        """All free parameters (R, q) of the model, 0 for the other level's."""
        result = np.zeros((len(params), self.q))
        result[:, self.used] = params
        return result

    def _moment_derivatives(self, implied: LevelImplied) -> tuple[FloatArray, FloatArray]:
        """Derivatives of Sigma (R, t, p^2) and mu (R, t, p)."""
        t, n, p = self.level.moment_derivatives(implied), len(implied.mu), implied.mu.shape[-1]
        left, right = transpose(t.left), transpose(t.right)
        each = outer(left, right) + outer(right, left)
        sigma, mu = np.zeros((n, self.q, p * p)), np.zeros((n, self.q, p))
        for k, free in enumerate(self.level.cov_free):
            sigma[:, free] += each[:, k].reshape(n, -1)
        mean = self.level.mean_derivatives(implied)
        for k, free in enumerate(self.level.mean_free):
            mu[:, free] += mean[..., k]
        return np.ascontiguousarray(sigma[:, self.used]), np.ascontiguousarray(mu[:, self.used])

    def evaluate(self, params: FloatArray, data: UnitsWithNoise) -> Evaluation:
        """Log-likelihood, score and expected information at (R, t)."""
        with np.errstate(all="ignore"):
            implied = self.implied(params)
            v = implied.sigma[:, None] + data.noise
            factor, fine = cholesky(v)
            precision = np.broadcast_to(inverse_spd(v)[0], data.scatter.shape)
            log_det = 2.0 * np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=-1)
            r = data.mean - implied.mu[:, None]
            about = data.scatter + data.n[..., None, None] * outer(r, r)
            p = r.shape[-1]
            trace = (precision * about).reshape(*data.n.shape, -1).sum(axis=-1)
            loglik = -0.5 * (data.n * (log_det + p * np.log(2.0 * np.pi)) + trace).sum(axis=-1)
            score = self._scores(implied, precision, r, about, data.n).sum(axis=1)
            information = self._information(implied, precision, data.n)
        ok = implied.ok & fine.all(axis=-1) & np.isfinite(loglik) & np.isfinite(score).all(axis=-1)
        return Evaluation(np.where(ok, loglik, -np.inf), score, information, ok)

    def _scores(
        self, implied: LevelImplied, precision: FloatArray, r: FloatArray, about: FloatArray, n: FloatArray
    ) -> FloatArray:
        sigma, mu = self._moment_derivatives(implied)
        grad = np.matmul(np.matmul(precision, about), precision) - n[..., None, None] * precision
        scores = 0.5 * np.matmul(grad.reshape(*n.shape, -1), transpose(sigma))
        scores += np.matmul(n[..., None] * matvec(precision, r), transpose(mu))
        return np.ascontiguousarray(scores)

    def _information(self, implied: LevelImplied, precision: FloatArray, n: FloatArray) -> FloatArray:
        sigma, mu = self._moment_derivatives(implied)
        p = mu.shape[-1]
        flat = precision.reshape(*n.shape, p * p)
        weighted = flat * n[..., None]
        pairs = entrywise.paired(np.matmul(transpose(weighted), flat), p)
        total = weighted.sum(axis=1).reshape(-1, p, p)
        result = 0.5 * np.matmul(np.matmul(sigma, pairs), transpose(sigma))
        result += np.matmul(np.matmul(mu, total), transpose(mu))
        return np.asarray(0.5 * (result + transpose(result)))

    def observed_information(self, params: FloatArray, data: UnitsWithNoise) -> FloatArray:
        """Minus the exact second derivatives (R, t, t)."""
        with np.errstate(all="ignore"):
            implied = self.implied(params)
            sigma, mu = self._moment_derivatives(implied)
            precision = np.broadcast_to(inverse_spd(implied.sigma[:, None] + data.noise)[0], data.scatter.shape)
            r = data.mean - implied.mu[:, None]
            n, p = data.n, r.shape[-1]
            about = data.scatter + n[..., None, None] * outer(r, r)
            inside = np.matmul(np.matmul(precision, about), precision)
            kernel = (inside - 0.5 * n[..., None, None] * precision).reshape(*n.shape, -1)
            flat = precision.reshape(*n.shape, -1)
            pairs = entrywise.paired(np.matmul(transpose(kernel), flat), p)
            result = np.matmul(np.matmul(sigma, pairs), transpose(sigma))
            pull = n[..., None] * matvec(precision, r)
            # mu_a' V^-1 Sigma_b V^-1 r, summed over groups
            mixed = np.matmul(transpose(pull), flat).reshape(-1, p, p, p)  # (c, (a, b)): pull_c precision_ab
            crossed = np.matmul(sigma.reshape(len(sigma), -1, p * p), mixed.transpose(0, 3, 1, 2).reshape(-1, p * p, p))
            cross = np.matmul(mu, transpose(crossed))
            total = (n[..., None] * flat).sum(axis=1).reshape(-1, p, p)
            result += cross + transpose(cross) + np.matmul(np.matmul(mu, total), transpose(mu))
            grad = n[..., None, None] * precision - inside
            bent = self.level.curvature(implied, 0.5 * grad.sum(axis=1), -pull.sum(axis=1), self.q)
            result += bent[:, self.used[:, None], self.used]
        return np.asarray(0.5 * (result + transpose(result)))

    def unit_scores(self, params: FloatArray, data: UnitsWithNoise) -> FloatArray:
        """Every group's part of the score (R, G, t)."""
        with np.errstate(all="ignore"):
            implied = self.implied(params)
            precision = np.broadcast_to(inverse_spd(implied.sigma[:, None] + data.noise)[0], data.scatter.shape)
            r = data.mean - implied.mu[:, None]
            about = data.scatter + data.n[..., None, None] * outer(r, r)
            return self._scores(implied, precision, r, about, data.n)

    def noise_slope(self, params: FloatArray, data: UnitsWithNoise, direction: FloatArray) -> FloatArray:
        """Expected derivative of the score (R, t) along a change (R, G, p, p) of the noise."""
        with np.errstate(all="ignore"):
            implied = self.implied(params)
            precision = np.broadcast_to(inverse_spd(implied.sigma[:, None] + data.noise)[0], data.scatter.shape)
            around = data.n[..., None, None] * np.matmul(np.matmul(precision, direction), precision)
            sigma, _ = self._moment_derivatives(implied)
            return -0.5 * matvec(sigma, around.sum(axis=1).reshape(len(sigma), -1))

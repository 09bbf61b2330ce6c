"""Regression with random coefficients by profile likelihood on cross-products of clusters (theory C10, D1.1).

y_j = X_j beta + Z_j u_j + e_j with Var(u) = T = sigma^2 D and D = L L'. Given L, with W_j = I + Z_j D Z_j', beta and
sigma^2 have closed forms, and -2 log L is, but for constants,

    sum log|W_j| + nu log S(D)  [+ log|sum X_j' W_j^-1 X_j|, restricted],   S = min over beta of sum r_j' W_j^-1 r_j,

with nu = N (maximum likelihood) or N - k (restricted; Bates et al. 2015, eq. 41). Derivatives with respect to D come
from M_j = Z_j' W_j^-1 Z_j and Z_j' W_j^-1 (X_j, r_j) alone. Everything is r x r a cluster, also where n_j < r and where
D is singular.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.linalg import entrywise
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, cholesky, inverse, inverse_spd, matvec, transpose

RIDGE = 1e-10
"""Added to the information, relative to its diagonal: for directions that leave a singular D as it is."""
PERFECT_FIT = 1e-13
"""A residual sum of squares below this share of the outcome's is rounding error."""


@dataclass(frozen=True)
class CoefficientData:
    """Cross-products of every cluster, clusters last.

    Attributes
    ----------
    zz : (R, r, r, J)
        Of the regressors with random coefficients.
    zx : (R, r, k + 1, J)
        Of these with all regressors and the outcome.
    xx : (R, k + 1, k + 1)
        Of regressors and outcome, summed over clusters.
    n_obs : int
    """

    zz: FloatArray
    zx: FloatArray
    xx: FloatArray
    n_obs: int

    def select(self, replicates: IntArray | BoolArray) -> CoefficientData:
        """Some of the replicates."""
        return CoefficientData(self.zz[replicates], self.zx[replicates], self.xx[replicates], self.n_obs)


@dataclass(frozen=True)
class _Profile:
    """Everything at one value of D: derivatives are with respect to the entries of D."""

    beta: FloatArray  # (R, k)
    inner: FloatArray  # (R, k, k), (sum X' W^-1 X)^-1
    rss: FloatArray  # (R,)
    loglik: FloatArray  # (R,)
    slope: FloatArray  # (R, r, r), of -2 log L
    curvature: FloatArray  # (R, r^2, r^2), of -2 log L
    log_slope: FloatArray  # (R, r, r), of the log determinants
    expected: FloatArray  # (R, r^2, r^2), tr(P W_a P W_b)
    ok: BoolArray  # (R,)


class RandomCoefficient(Likelihood[CoefficientData]):
    """Profile log-likelihood of the free entries of L.

    Parameters
    ----------
    rows, cols : (t,)
        Free entries of the lower-triangular L (r, r); the diagonal is among them.
    reml : bool
        Restricted likelihood.
    """

    verify_maximum: ClassVar[bool] = False  # evaluations return the observed information: what they accept is a maximum

    def __init__(self, rows: IntArray, cols: IntArray, *, reml: bool) -> None:
        self.rows, self.cols, self.reml = rows, cols, reml
        self.r = int(rows.max()) + 1

    def factor(self, params: FloatArray) -> FloatArray:
        """L (R, r, r)."""
        result = np.zeros((len(params), self.r, self.r))
        result[:, self.rows, self.cols] = params
        return result

    def evaluate(self, params: FloatArray, data: CoefficientData) -> Evaluation:
        """Log-likelihood, score and observed information of the entries of L (R, t)."""
        with np.errstate(all="ignore"):
            factor = self.factor(params)
            found = self._profile(factor, data)
            directions = self._directions(factor)
            score = -0.5 * np.matmul(directions, found.slope.reshape(len(params), -1, 1))[..., 0]
            information = 0.5 * np.matmul(np.matmul(directions, found.curvature), transpose(directions))
            # L enters D twice: the slope of D is a second derivative with respect to entries of one column of L
            same = self.cols[:, None] == self.cols
            information += np.where(same, found.slope[:, self.rows[:, None], self.rows], 0.0)
            return Evaluation(found.loglik, score, _ridged(information), found.ok)

    def observed_information(self, params: FloatArray, data: CoefficientData) -> FloatArray:
        """Observed information (R, t, t)."""
        return self.evaluate(params, data).information

    def _directions(self, factor: FloatArray) -> FloatArray:
        """Derivatives of D with respect to the entries of L, (R, t, r^2)."""
        n, t, r = len(factor), len(self.rows), self.r
        result = np.zeros((n, t, r, r))
        for i, (row, col) in enumerate(zip(self.rows, self.cols, strict=True)):
            result[:, i, row, :] += factor[:, :, col]
            result[:, i, :, row] += factor[:, :, col]
        return result.reshape(n, t, r * r)

    def _profile(self, factor: FloatArray, data: CoefficientData) -> _Profile:
        n, r, k1, j = data.zx.shape
        k = k1 - 1
        root = factor[..., None]
        lower = entrywise.product(entrywise.swap(root), entrywise.product(data.zz, root))
        for i in range(r):
            lower[:, i, i] += 1.0
        half, logdet = entrywise.inverse_factor(lower)  # I + L' Z'Z L is positive definite whatever L is
        turned = entrywise.product(half, entrywise.swap(root))
        left_m, left_b = entrywise.product(turned, data.zz), entrywise.product(turned, data.zx)
        m = data.zz - entrywise.product(entrywise.swap(left_m), left_m)
        b = data.zx - entrywise.product(entrywise.swap(left_m), left_b)
        flat = left_b.swapaxes(1, 2).reshape(n, k1, r * j)
        gram = data.xx - np.matmul(flat, transpose(flat))
        inner, ok = inverse_spd(gram[:, :k, :k])
        beta = matvec(inner, gram[:, :k, k])
        rss = gram[:, k, k] - np.matmul(gram[:, None, k, :k], beta[..., None])[:, 0, 0]
        ok = ok & (rss > PERFECT_FIT * data.xx[:, k, k]) & np.isfinite(logdet).all(axis=-1)
        nu = data.n_obs - k if self.reml else data.n_obs
        total = logdet.sum(axis=-1) + nu * (1.0 + np.log(2.0 * np.pi * rss / nu))
        triangle, _ = cholesky(inner)
        if self.reml:
            total = total - 2.0 * np.log(np.diagonal(triangle, axis1=-2, axis2=-1)).sum(axis=-1)
        g = b[:, :, k] - entrywise.times(b[:, :, :k], np.broadcast_to(beta[..., None], (n, k, j)))
        q = entrywise.swap(
            entrywise.common_left(transpose(triangle), entrywise.swap(b[:, :, :k]))
        )  # b_X C^1/2, (R, r, k, J)
        return self._derivatives(m, q, g, rss, nu, (beta, inner, -0.5 * total, ok))

    def _derivatives(
        self,
        m: FloatArray,
        q: FloatArray,
        g: FloatArray,
        rss: FloatArray,
        nu: int,
        found: tuple[FloatArray, FloatArray, FloatArray, BoolArray],
    ) -> _Profile:
        n, r, k, j = q.shape
        flat_m = m.reshape(n, r * r, j)
        flat_q = q.reshape(n, r * k, j)
        gg = (g[:, :, None] * g[:, None]).reshape(n, r * r, j)
        qq = entrywise.square(q).reshape(n, r * r, j)
        sum_m, sum_g, sum_q = (x.sum(axis=-1).reshape(n, r, r) for x in (flat_m, gg, qq))
        # tr(D1 M D2 M): entry (a, b), (c, d) pairs M_da with M_bc; likewise with g g' or q q' in place of one M
        mm = entrywise.paired(np.matmul(flat_m, transpose(flat_m)), r)
        gm = entrywise.paired(np.matmul(gg, transpose(flat_m)), r)
        qm = entrywise.paired(np.matmul(qq, transpose(flat_m)), r)
        cross = np.matmul(flat_q, transpose(g)).reshape(n, r, k, r).swapaxes(2, 3).reshape(n, r * r, k)
        cross = cross + cross.reshape(n, r, r, k).swapaxes(1, 2).reshape(n, r * r, k)
        rss_slope = -sum_g
        rss_curvature = 2.0 * gm - 0.5 * np.matmul(cross, transpose(cross))
        slope = sum_m + nu * rss_slope / rss[:, None, None]
        ratio = (rss_slope / rss[:, None, None]).reshape(n, r * r, 1)
        curvature = -mm + nu * (rss_curvature / rss[:, None, None] - np.matmul(ratio, transpose(ratio)))
        log_slope, expected = sum_m, mm
        if self.reml:
            both = np.matmul(flat_q, transpose(flat_q)).reshape(n, r, k, r, k).swapaxes(2, 3).reshape(n, r * r, k * k)
            both = 0.5 * (both + both.reshape(n, r, r, k * k).swapaxes(1, 2).reshape(n, r * r, k * k))
            log_slope = sum_m - sum_q
            expected = mm - 2.0 * qm + np.matmul(both, transpose(both))
            slope, curvature = slope - sum_q, curvature + 2.0 * qm - np.matmul(both, transpose(both))
        beta, inner, loglik, ok = found
        ok = ok & np.isfinite(curvature).all(axis=(-2, -1))
        return _Profile(beta, inner, rss, loglik, slope, _symmetric(curvature), log_slope, _symmetric(expected), ok)

    def solution(self, params: FloatArray, data: CoefficientData) -> Coefficients:
        """Everything that is reported, at the maximum (R, t)."""
        with np.errstate(all="ignore"):
            factor = self.factor(params)
            found = self._profile(factor, data)
            n, k = found.beta.shape
            t, r = len(self.rows), self.r
            nu = data.n_obs - k if self.reml else data.n_obs
            sigma2 = found.rss / nu
            ratio = np.matmul(factor, transpose(factor))
            directions = self._directions(factor)
            info = np.zeros((n, t + 1, t + 1))
            info[:, :t, :t] = _ridged(0.5 * np.matmul(np.matmul(directions, found.expected), transpose(directions)))
            border = 0.5 * np.matmul(directions, found.log_slope.reshape(n, r * r, 1))[..., 0] / sigma2[:, None]
            info[:, :t, t] = info[:, t, :t] = border
            info[:, t, t] = nu / (2.0 * sigma2**2)
            cov, ok = inverse(info)
            jacobian = np.zeros((n, r * r + 1, t + 1))
            jacobian[:, :-1, :t] = sigma2[:, None, None] * transpose(directions)
            jacobian[:, :-1, t] = ratio.reshape(n, r * r)
            jacobian[:, -1, t] = 1.0
            return Coefficients(
                beta=found.beta,
                beta_cov=sigma2[:, None, None] * found.inner,
                sigma2=sigma2,
                covariance=sigma2[:, None, None] * ratio,
                variance_cov=np.matmul(np.matmul(jacobian, cov), transpose(jacobian)),
                loglik=found.loglik,
                ok=found.ok & ok,
            )


@dataclass(frozen=True)
class Coefficients:
    """Fits of one regression with random coefficients.

    Attributes
    ----------
    beta : (R, k)
    beta_cov : (R, k, k)
        sigma^2 (sum X' W^-1 X)^-1, as lme4's ``vcov``.
    sigma2 : (R,)
    covariance : (R, r, r)
        T, of the random coefficients.
    variance_cov : (R, r^2 + 1, r^2 + 1)
        Covariance of (T, sigma2), from the expected (restricted) information; on the boundary, that of its face.
    loglik : (R,)
        With all constants.
    ok : (R,)
    """

    beta: FloatArray
    beta_cov: FloatArray
    sigma2: FloatArray
    covariance: FloatArray
    variance_cov: FloatArray
    loglik: FloatArray
    ok: BoolArray

    def moved(self, shift: FloatArray) -> Coefficients:
        """Random coefficients u turned into ``shift`` u (R, r, r)."""
        n, r = shift.shape[:2]
        twice = np.zeros((n, r * r + 1, r * r + 1))
        pairs = shift[:, :, None, :, None] * shift[:, None, :, None, :]
        twice[:, :-1, :-1], twice[:, -1, -1] = pairs.reshape(n, r * r, r * r), 1.0
        return replace(
            self,
            covariance=np.matmul(np.matmul(shift, self.covariance), transpose(shift)),
            variance_cov=np.matmul(np.matmul(twice, self.variance_cov), transpose(twice)),
        )


def _symmetric(form: FloatArray) -> FloatArray:
    """The symmetric part of quadratic forms (R, r^2, r^2)."""
    return 0.5 * (form + transpose(form))


def _ridged(information: FloatArray) -> FloatArray:
    diagonal = np.abs(np.diagonal(information, axis1=-2, axis2=-1))
    least = 1e-8 * diagonal.max(axis=-1, keepdims=True)
    place = np.arange(information.shape[-1])
    information[:, place, place] += RIDGE * np.maximum(diagonal, least)
    return information

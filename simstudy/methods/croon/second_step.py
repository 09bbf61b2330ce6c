"""Second steps on adjusted cluster means: estimates, and the estimating equations that they solve, cluster by cluster.

Regressors and outcome of a cluster are one vector (x_j, y_j); residuals are its product with the contrast (-beta, 1).
Two kinds of outcome, one interface: parameters are k slopes and v variances; ``equations`` gives every cluster's part
of the k + v estimating equations, ``jacobian`` minus their derivative, ``drift`` their derivative along a change of the
adjusted means. Sources: stacked estimating equations (Stefanski & Boos 2002); theory C10, the random-intercept
likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.estimation.result import Status
from simstudy.likelihood.mixed.random_intercept import Moments, fit_random_intercept
from simstudy.linalg.stacked import FloatArray, IntArray, dot, inverse_spd, matvec, outer, transpose
from simstudy.methods.mixed.equations import Equation


@dataclass(frozen=True)
class Drift:
    """A change of the adjusted means.

    Attributes
    ----------
    products : (R, S, k + 1, k + 1)
        Derivative of the products of (regressors, outcome).
    unknown : (R, S)
        Derivative of the variance that is unknown of the latent means, at the slopes.
    """

    products: FloatArray
    unknown: FloatArray


@dataclass(frozen=True)
class ClusterRows:
    """Every cluster's share.

    Attributes
    ----------
    means : (R, J, k + 1)
        (Regressors, outcome), about the grand means.
    inside : (R, J, k + 1, k + 1)
        Within-cluster products of (regressors, outcome).
    """

    means: FloatArray
    inside: FloatArray


@dataclass(frozen=True)
class Mixing:
    """What the unknown part of the latent means adds to the residual variance, as a function of the contrast.

    Attributes
    ----------
    unknown : (R, S, a, a)
        C_n of `adjusted_means`; a = 0 where nothing is adjusted.
    loading : (a, k + 1)
        The adjusted means in (regressors, outcome): gamma = loading @ contrast are their slopes, with a minus sign.
    """

    unknown: FloatArray
    loading: FloatArray

    def __call__(self, contrast: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give gamma' C_n gamma (R, S), and its derivative (R, S, k) with respect to the slopes, which is -contrast."""
        gamma = self.gamma(contrast)
        half = matvec(self.unknown, gamma)
        slope = -2.0 * np.matmul(half[..., None, :], self.loading[:, :-1])[..., 0, :]
        return dot(half, gamma * np.ones_like(half)), slope

    def along(self, contrast: FloatArray, unknown: FloatArray) -> FloatArray:
        """Give gamma' dC_n gamma (R, S) for a change (R, S, a, a) of C_n."""
        gamma = self.gamma(contrast)
        half = matvec(unknown, gamma)
        return dot(half, gamma * np.ones_like(half))

    def gamma(self, contrast: FloatArray) -> FloatArray:
        """Slopes of the adjusted means (R, 1, a), with a minus sign."""
        return matvec(self.loading, contrast)[:, None]


@dataclass(frozen=True)
class OnClusters:
    """Level-2 outcome: ordinary least squares on J clusters.

    Attributes
    ----------
    layout : ClusterLayout
    contrast : (R, k + 1)
    products : (R, S, k + 1, k + 1)
    inner : (R, k, k)
        Inverse of the products of the regressors.
    variances : (R, 1)
        Residual variance given the latent means: mean squared residual less what is unknown of them.
    covariance : (R, k + 1, k + 1)
        Of slopes and variance, if residuals have one variance and adjusted means no error.
    unknown : (R, S)
        Variance that is unknown of the latent means, at the slopes.
    slope_unknown : (R, S, k)
        Its derivative with respect to the slopes.
    unbiased : bool
        Whether squared residuals are divided by 1 - leverage.
    status, n_iter : (R,)
    """

    layout: ClusterLayout
    contrast: FloatArray
    products: FloatArray
    inner: FloatArray
    variances: FloatArray
    covariance: FloatArray
    unknown: FloatArray
    slope_unknown: FloatArray
    unbiased: bool
    status: IntArray
    n_iter: IntArray

    @classmethod
    def solve(cls, moments: Moments, layout: ClusterLayout, mixing: Mixing, *, unbiased: bool) -> OnClusters:
        """Fit R data sets; ``unbiased`` takes the divisor J - k, otherwise J."""
        total = moments.between.sum(axis=1)
        k = total.shape[-1] - 1
        inner, ok = inverse_spd(total[:, :k, :k])
        contrast = np.concatenate([-matvec(inner, total[:, :k, k]), np.ones((len(total), 1))], axis=-1)
        divisor = layout.n_clusters - k if unbiased else layout.n_clusters
        s2 = dot(contrast, matvec(total, contrast)) / divisor
        unknown, slope = mixing(contrast)
        counts = layout.counts.astype(float)
        variance = s2 - dot(unknown, counts * np.ones_like(unknown)) / layout.n_clusters
        cov = np.zeros((len(total), k + 1, k + 1))
        cov[:, :k, :k] = s2[:, None, None] * inner
        cov[:, k, k] = 2.0 * s2**2 / divisor
        status = np.where(ok, int(Status.OK), int(Status.SINGULAR_INFORMATION))
        none = np.zeros(len(total), dtype=np.int64)
        return cls(
            layout, contrast, moments.between, inner, variance[:, None], cov, unknown, slope, unbiased, status, none
        )

    def equations(self, rows: ClusterRows) -> FloatArray:
        """x_j e_j, and e_j^2 about its expectation (R, J, k + 1)."""
        k = self.inner.shape[-1]
        x = rows.means[..., :k]
        residual = matvec(rows.means, self.contrast)
        expected = self.variances + np.take(self.unknown, self.layout.group, axis=1)
        weighted = residual
        if self.unbiased:
            leverage = dot(x, np.matmul(x, self.inner))
            weighted = residual / np.sqrt(np.maximum(1.0 - leverage, 1e-12))
        return np.concatenate([x * weighted[..., None], (residual**2 - expected)[..., None]], axis=-1)

    def jacobian(self) -> FloatArray:
        """Minus the derivative of the summed equations (R, k + 1, k + 1)."""
        k = self.inner.shape[-1]
        counts = self.layout.counts.astype(float)
        result = np.zeros_like(self.covariance)
        result[:, :k, :k] = self.products.sum(axis=1)[:, :k, :k]
        result[:, k, :k] = (counts[:, None] * self.slope_unknown).sum(axis=1)
        result[:, k, k] = counts.sum()
        return result

    def drift(self, drift: Drift) -> FloatArray:
        """Derivative of the summed equations (R, k + 1) along a change of the adjusted means."""
        k = self.inner.shape[-1]
        counts = self.layout.counts.astype(float)
        change = matvec(drift.products, self.contrast[:, None])
        square = dot(change, self.contrast[:, None] * np.ones_like(change))
        spread = (square - counts * drift.unknown).sum(axis=1)
        return np.concatenate([change.sum(axis=1)[:, :k], spread[:, None]], axis=-1)


@dataclass(frozen=True)
class OnRows:
    """Level-1 outcome: a random-intercept regression on deviations, adjusted means and level-2 predictors.

    Attributes
    ----------
    layout : ClusterLayout
    contrast : (R, k + 1)
    products : (R, S, k + 1, k + 1)
    within : (R, k + 1, k + 1)
        Pooled within-cluster products.
    variances : (R, 2)
        sigma^2, tau^2.
    covariance : (R, k + 2, k + 2)
        Model-based, of slopes and variances.
    moving : (R,)
        Where tau^2 is estimated and not 0; elsewhere it counts as known.
    status, n_iter : (R,)
    """

    layout: ClusterLayout
    contrast: FloatArray
    products: FloatArray
    within: FloatArray
    variances: FloatArray
    covariance: FloatArray
    moving: FloatArray
    status: IntArray
    n_iter: IntArray

    @classmethod
    def solve(cls, moments: Moments, layout: ClusterLayout, equation: Equation, *, reml: bool) -> OnRows:
        """Fit R data sets."""
        fit = fit_random_intercept(moments, reml=reml, tau_free=equation.has_between)
        n, k = fit.beta.shape
        cov = np.zeros((n, k + 2, k + 2))
        cov[:, :k, :k], cov[:, k:, k:] = fit.beta_cov, fit.variance_cov
        converged = np.where(fit.converged, int(Status.OK), int(Status.MAX_ITER))
        return cls(
            layout,
            np.concatenate([-fit.beta, np.ones((n, 1))], axis=-1),
            moments.between,
            moments.within,
            np.stack([fit.sigma2, fit.tau2], axis=-1),
            cov,
            (fit.tau2 > 0).astype(float),
            np.where(fit.ok, converged, int(Status.SINGULAR_INFORMATION)),
            fit.n_iter,
        )

    def _omega(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Sizes (S,), sigma^2 (R, 1) and omega_n = sigma^2 + n tau^2 (R, S)."""
        n = self.layout.distinct.astype(float)
        sigma2 = self.variances[:, :1]
        return n, sigma2, sigma2 + n * self.variances[:, 1:]

    def equations(self, rows: ClusterRows) -> FloatArray:
        """Scores of slopes, sigma^2 and tau^2 (R, J, k + 2)."""
        k, group = self.contrast.shape[-1] - 1, self.layout.group
        sizes, sigma2, omega_s = self._omega()
        n, omega = sizes[group], np.take(omega_s, group, axis=1)
        residual = matvec(rows.means, self.contrast)
        inside = matvec(rows.inside, self.contrast[:, None])
        slopes = inside[..., :k] / sigma2[..., None] + rows.means[..., :k] * (n * residual / omega)[..., None]
        square = n * residual**2 / omega**2
        rest = dot(inside, self.contrast[:, None] * np.ones_like(inside))
        sigma = -0.5 * ((n - 1.0) / sigma2 - rest / sigma2**2 + 1.0 / omega - square)
        tau = -0.5 * n * (1.0 / omega - square) * self.moving[:, None]
        return np.concatenate([slopes, sigma[..., None], tau[..., None]], axis=-1)

    def jacobian(self) -> FloatArray:
        """Observed information (R, k + 2, k + 2)."""
        k = self.contrast.shape[-1] - 1
        n, sigma2, omega = self._omega()
        counts, s = self.layout.counts.astype(float), sigma2[:, 0]
        change = matvec(self.products, self.contrast[:, None])  # sums of (x, y) r by size
        square = dot(change, self.contrast[:, None] * np.ones_like(change))
        inside = matvec(self.within, self.contrast)
        total = dot(inside, self.contrast)
        result = np.zeros_like(self.covariance)
        weight = (n / omega)[..., None, None]
        result[:, :k, :k] = self.within[:, :k, :k] / s[:, None, None] + (weight * self.products).sum(axis=1)[:, :k, :k]
        cross = [inside / s[:, None] ** 2 + ((n / omega**2)[..., None] * change).sum(axis=1)]
        cross.append(((n**2 / omega**2)[..., None] * change).sum(axis=1))
        spare = float(self.layout.n_obs - self.layout.n_clusters)

        def block(power: int) -> FloatArray:
            found: FloatArray = (-(counts * n**power) / omega**2 + 2.0 * n ** (power + 1) * square / omega**3).sum(
                axis=1
            )
            return 0.5 * found

        result[:, k, k] = 0.5 * (-spare / s**2 + 2.0 * total / s**3) + block(0)
        result[:, k, k + 1] = result[:, k + 1, k] = block(1)
        result[:, k + 1, k + 1] = block(2)
        for place, column in enumerate(cross):
            result[:, :k, k + place] = result[:, k + place, :k] = column[:, :k]
        known = self.moving == 0
        result[known, k + 1, :] = result[known, :, k + 1] = 0.0
        result[known, k + 1, k + 1] = 1.0
        return result

    def drift(self, drift: Drift) -> FloatArray:
        """Derivative of the summed scores (R, k + 2) along a change of the adjusted means."""
        k = self.contrast.shape[-1] - 1
        n, _, omega = self._omega()
        change = matvec(drift.products, self.contrast[:, None])
        square = dot(change, self.contrast[:, None] * np.ones_like(change))
        slopes = ((n / omega)[..., None] * change).sum(axis=1)[:, :k]
        sigma = 0.5 * (n / omega**2 * square).sum(axis=1)
        tau = 0.5 * (n**2 / omega**2 * square).sum(axis=1) * self.moving
        return np.concatenate([slopes, sigma[:, None], tau[:, None]], axis=-1)


def drift_of_products(means: FloatArray, d_means: FloatArray, d_scatter: FloatArray, counts: FloatArray) -> FloatArray:
    """Derivative of scatter + counts times outer products of the means (R, S, k + 1, k + 1)."""
    half = counts[:, None, None] * outer(d_means, means)
    return d_scatter + half + transpose(half)

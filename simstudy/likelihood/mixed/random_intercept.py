"""Random-intercept regression by profile likelihood on sums of squares and cross-products (theory B4, C10).

y_ij = x_ij' beta + u_j + e_ij with Var(u) = tau^2, Var(e) = sigma^2 and theta = tau^2 / sigma^2. Given theta the
generalised least-squares moments are a weighted sum of within scatter and cluster-mean products,

    M(theta) = M_W + sum_s n_s / (1 + n_s theta) C_s,

so beta, sigma^2 and the restricted likelihood are functions of theta alone. It is found by Newton's method in
log(1 + nbar theta), in which the balanced criterion is convex, with exact derivatives and a bracket.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, inverse_spd, matvec, transpose

MAX_ITER = 60
GRID = np.array([0.0, 0.05, 0.15, 0.4, 0.8, 1.4, 2.2, 3.2, 4.5])
# A residual sum of squares below this share of the outcome's is rounding error: there is no residual variance.
PERFECT_FIT = 1e-13


@dataclass(frozen=True)
class RandomIntercept:
    """Fits of one random-intercept regression to R data sets.

    Attributes
    ----------
    beta : (R, k)
    beta_cov : (R, k, k)
        sigma^2 (X' V^-1 X)^-1 sigma^-2-scaled, as lme4's ``vcov``.
    sigma2, tau2 : (R,)
    variance_cov : (R, 2, 2)
        Covariance of (sigma2, tau2) from the expected (restricted) information.
    loglik : (R,)
        Maximised (restricted) log-likelihood with all constants.
    n_iter : (R,)
    ok : (R,)
        False where the regressors are collinear.
    converged : (R,)
    """

    beta: FloatArray
    beta_cov: FloatArray
    sigma2: FloatArray
    tau2: FloatArray
    variance_cov: FloatArray
    loglik: FloatArray
    n_iter: IntArray
    ok: BoolArray
    converged: BoolArray


@dataclass(frozen=True)
class Moments:
    """Cross-products of (regressors, outcome), k1 = k + 1.

    Attributes
    ----------
    within : (R, k1, k1)
        Pooled within-cluster scatter.
    between : (R, S, k1, k1)
        Products of the cluster means of each size, about a common origin; the first regressor may be the constant.
    sizes, counts : (S,)
    """

    within: FloatArray
    between: FloatArray
    sizes: FloatArray
    counts: FloatArray

    def select(self, replicates: IntArray | BoolArray) -> Moments:
        """Some of the replicates."""
        return Moments(self.within[replicates], self.between[replicates], self.sizes, self.counts)

    def combine(self, weights: FloatArray, within: FloatArray | float) -> FloatArray:
        """``within`` times M_W plus the products weighted by (R, S)."""
        r, s, k1, _ = self.between.shape
        flat = np.matmul(weights[:, None, :], self.between.reshape(r, s, k1 * k1))
        scaled = np.asarray(within) * np.ones(r)
        result: FloatArray = flat.reshape(r, k1, k1) + scaled[:, None, None] * self.within
        return result


def fit_random_intercept(moments: Moments, *, reml: bool, tau_free: bool = True) -> RandomIntercept:
    """Maximise the (restricted) likelihood over theta >= 0 for every replicate.

    Parameters
    ----------
    reml : bool
        Restricted (divisor N - k) or full likelihood.
    tau_free : bool
        False fixes tau^2 at 0: ordinary least squares.
    """
    n_replicates = len(moments.within)
    nbar = float((moments.sizes * moments.counts).sum() / moments.counts.sum())
    slope, curvature, ok = _derivatives(moments, np.zeros(n_replicates), nbar, reml)
    n_iter = np.zeros(n_replicates, dtype=np.int64)
    converged = ~ok | (slope >= 0)
    if not tau_free:
        converged[:] = True
    position, low, high = _brackets(moments, converged, nbar, reml)
    if not tau_free:
        position = np.zeros(n_replicates)
    converged = converged & ~(position > 0)
    active = np.flatnonzero(~converged)
    low, high = low[active], high[active]
    for _ in range(MAX_ITER):
        if not len(active):
            break
        n_iter[active] += 1
        slope, curvature, _ = _derivatives(moments.select(active), position[active], nbar, reml)
        here = position[active]
        low = np.where(slope < 0, here, low)
        high = np.where(slope > 0, here, high)
        with np.errstate(all="ignore"):
            newton = here - slope / curvature
            # the criterion changes by slope^2 / (2 curvature): 1e-20 is 1e-10 standard errors
            done = (curvature > 0) & (slope**2 < 1e-20 * curvature)
        safe = (curvature > 0) & (newton > low) & (newton < high) & (np.abs(newton - here) < 2.0)
        middle = np.where(np.isinf(high), here + 1.0, 0.5 * (low + high))
        position[active] = np.where(done & (newton > 0), newton, np.where(safe, newton, middle))
        done |= (high - low) < 1e-14 * (1.0 + here)
        converged[active[done]] = True
        active, low, high = active[~done], low[~done], high[~done]
    theta = np.expm1(position) / nbar
    return _finish(moments, theta, reml, n_iter, ok, converged)


def _brackets(
    moments: Moments, at_zero: BoolArray, nbar: float, reml: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Start, lower and upper limit of the position for every replicate.

    Balanced criteria are convex: where the slope at 0 is positive, 0 is the minimum. Unbalanced ones may have a second
    minimum, so they are looked at on a grid.
    """
    n = len(at_zero)
    start, low, high = np.zeros(n), np.zeros(n), np.full(n, np.inf)
    rising = np.flatnonzero(~at_zero)
    start[rising] = _start(moments.select(rising), nbar)
    if len(moments.sizes) == 1:
        return start, low, high
    heights = np.stack([_criterion(moments, np.full(n, g), nbar, reml) for g in GRID])
    best = np.argmin(heights, axis=0)
    start_height = _criterion(moments, start, nbar, reml)
    with np.errstate(invalid="ignore"):
        better = (best > 0) & (heights[best, np.arange(n)] < start_height - 1e-9 * np.abs(start_height))
    padded = np.append(GRID, np.inf)
    start[better], low[better], high[better] = padded[best[better]], padded[best[better] - 1], padded[best[better] + 1]
    return start, low, high


def _criterion(moments: Moments, position: FloatArray, nbar: float, reml: bool) -> FloatArray:
    """-2 log-likelihood without constants at log(1 + nbar theta)."""
    n, j = moments.sizes, moments.counts
    theta = np.expm1(position) / nbar
    shrink = 1.0 / (1.0 + n * theta[:, None])
    m0 = moments.combine(n * shrink, 1.0)
    e, inner, ok = _regress(m0)
    k = m0.shape[-1] - 1
    with np.errstate(all="ignore"):
        value = (float((n * j).sum()) - (k if reml else 0)) * np.log(_quadratic(m0, e)) - (j * np.log(shrink)).sum(
            axis=-1
        )
        if reml:
            value = value - np.linalg.slogdet(np.where(ok[:, None, None], inner, np.eye(k)))[1]
    return np.where(ok & np.isfinite(value), value, np.inf)


def _start(moments: Moments, nbar: float) -> FloatArray:
    """log(1 + nbar theta) from the ratio of ordinary least-squares mean squares between and within."""
    n, j = moments.sizes, moments.counts
    total = moments.combine(np.broadcast_to(n, (len(moments.within), len(n))), 1.0)
    contrast, _, _ = _regress(total)
    between = _quadratic(total - moments.within, contrast) / j.sum()
    within = _quadratic(moments.within, contrast) / max(float((n * j).sum() - j.sum()), 1.0)
    with np.errstate(all="ignore"):
        ratio = np.where(within > 0, between / within, 10.0)
    result: FloatArray = np.log(np.clip(ratio, 1.05, 1e6))
    return result


def _regress(products: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Contrast (-beta, 1) (R, k1), inverse of X'X (R, k, k), and where the regressors are not collinear."""
    inner, ok = inverse_spd(products[:, :-1, :-1])
    inner = np.where(ok[:, None, None], inner, 0.0)
    beta = matvec(inner, products[:, :-1, -1])
    return np.concatenate([-beta, np.ones((len(beta), 1))], axis=-1), inner, ok


def _quadratic(a: FloatArray, x: FloatArray) -> FloatArray:
    result: FloatArray = np.matmul(x[:, None, :], matvec(a, x)[..., None])[:, 0, 0]
    return result


def _trace(a: FloatArray, b: FloatArray) -> FloatArray:
    """tr(A B) of symmetric stacks."""
    result: FloatArray = (a * b).sum(axis=-1).sum(axis=-1)
    return result


def _derivatives(
    moments: Moments, position: FloatArray, nbar: float, reml: bool
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """First and second derivative of -2 log-likelihood with respect to log(1 + nbar theta)."""
    n, j = moments.sizes, moments.counts
    total = float((n * j).sum())
    growth = np.exp(position)  # 1 + nbar theta
    theta = np.expm1(position) / nbar
    shrink = 1.0 / (1.0 + n * theta[:, None])
    m0 = moments.combine(n * shrink, 1.0)
    m1 = moments.combine(-((n * shrink) ** 2), 0.0)
    m2 = moments.combine(2.0 * (n * shrink) ** 3, 0.0)
    e, inner, ok = _regress(m0)
    k = m0.shape[-1] - 1
    divisor = total - (k if reml else 0)
    with np.errstate(all="ignore"):
        rss, rss1 = _quadratic(m0, e), _quadratic(m1, e)
        cross = matvec(m1, e)[:, :k]
        rss2 = _quadratic(m2, e) - 2.0 * _quadratic(inner, cross)
        first = divisor * rss1 / rss + (j * n * shrink).sum(axis=-1)
        second = divisor * (rss2 / rss - (rss1 / rss) ** 2) - (j * (n * shrink) ** 2).sum(axis=-1)
        if reml:
            a1, a2 = m1[:, :k, :k], m2[:, :k, :k]
            product = np.matmul(inner, a1)
            first = first + _trace(inner, a1)
            second = second + _trace(inner, a2) - _trace(product, transpose(product))
        ok = ok & (rss > PERFECT_FIT * m0[:, -1, -1])
        step = growth / nbar  # d theta / d position, and its own derivative
        return first * step, second * step**2 + first * step, ok


def _finish(
    moments: Moments, theta: FloatArray, reml: bool, n_iter: IntArray, ok: BoolArray, converged: BoolArray
) -> RandomIntercept:
    n, j = moments.sizes, moments.counts
    total = float((n * j).sum())
    shrink = 1.0 / (1.0 + n * theta[:, None])
    m0 = moments.combine(n * shrink, 1.0)
    e, inner, _ = _regress(m0)
    k = m0.shape[-1] - 1
    divisor = total - (k if reml else 0)
    with np.errstate(all="ignore"):
        sigma2 = _quadratic(m0, e) / divisor
        deviance = divisor * (np.log(2 * np.pi * sigma2) + 1.0) - (j * np.log(shrink)).sum(axis=-1)
        if reml:
            deviance = deviance - np.linalg.slogdet(np.where(ok[:, None, None], inner, np.eye(k)))[1]
        beta_cov = sigma2[:, None, None] * inner
        information = _variance_information(moments, theta, sigma2, beta_cov, reml)
    variance_cov, _ = inverse_spd(information)
    return RandomIntercept(
        beta=-e[:, :-1],
        beta_cov=beta_cov,
        sigma2=sigma2,
        tau2=theta * sigma2,
        variance_cov=variance_cov,
        loglik=-0.5 * deviance,
        n_iter=n_iter,
        ok=ok & (sigma2 * divisor > PERFECT_FIT * m0[:, -1, -1]),
        converged=converged,
    )


def _variance_information(
    moments: Moments, theta: FloatArray, sigma2: FloatArray, beta_cov: FloatArray, reml: bool
) -> FloatArray:
    """Expected information (R, 2, 2) of (sigma^2, tau^2): tr(P V_a P V_b) / 2, with P = V^-1 under full likelihood.

    V has eigenvalue sigma^2 within clusters and omega_n = sigma^2 + n tau^2 on their means.
    """
    n, j = moments.sizes, moments.counts
    k = beta_cov.shape[-1]
    omega = sigma2[:, None] * (1.0 + n * theta[:, None])
    power = [n**m / omega**2 for m in range(3)]
    result = np.empty((len(theta), 2, 2))
    within = (float((n * j).sum()) - j.sum()) / sigma2**2
    result[:, 0, 0] = within + (j * power[0]).sum(axis=-1)
    result[:, 0, 1] = result[:, 1, 0] = (j * power[1]).sum(axis=-1)
    result[:, 1, 1] = (j * power[2]).sum(axis=-1)
    if reml:
        b = [
            moments.combine(n / omega**2, 1.0 / sigma2**2)[:, :k, :k],
            moments.combine(n**2 / omega**2, 0.0)[:, :k, :k],
        ]
        d = {
            (0, 0): moments.combine(n / omega**3, 1.0 / sigma2**3),
            (0, 1): moments.combine(n**2 / omega**3, 0.0),
            (1, 1): moments.combine(n**3 / omega**3, 0.0),
        }
        for (p, q), cubic in d.items():
            loss = -2.0 * _trace(beta_cov, cubic[:, :k, :k])
            loss = loss + _trace(np.matmul(beta_cov, b[p]), transpose(np.matmul(beta_cov, b[q])))
            result[:, p, q] += loss
            if p != q:
                result[:, q, p] += loss
    return 0.5 * result

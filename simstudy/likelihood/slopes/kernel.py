"""The Gaussian integral over a cluster's random elements, at many points at once (theory D1.1, D1.2).

A point is a cluster, or a cluster at one quadrature node. Its rows have the residuals eps_i = X xi_i ~ N(0, Sigma_W),
where xi_i = (-u_l c_i,pi(l); c_i), c_i = (1, v_i), and X = [columns of u | -mu_W | I]: every random element u_l
multiplies one covariate, number pi(l). With Phi = X' Sigma_W^-1 X = [[K, F], [F', Q]] and M = sum c_i c_i', the
log-likelihood given u is quadratic in u with the curvature and slope

    A_lm = K_lm M_pi(l)pi(m),    b_l = sum_a F_la M_a,pi(l),    q = tr(Q M),

and (u, z) ~ N(mean, cov), z observed. The integral is the normal one (Woodbury's form: T may be singular, clusters may
be smaller than r). Its derivatives are those with respect to Phi, log|Sigma_W|, cov and mean; the chain rule to
parameters is `slope_chain`.

Axis letters: R replicates, P points, r random elements, f = r + pz elements and observed level-2 variables, k = p1 + 1
covariates, c = r + k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.linalg.entrywise import common_left, inner, inverse_factor, product, square, swap, times
from simstudy.linalg.psd import psd_factor
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, inverse, matvec, transpose

LOG_2PI = float(np.log(2.0 * np.pi))
SINGULAR = 1e-9
"""Covariance matrices of random elements may be singular; further from positive semidefinite they are refused."""


@dataclass(frozen=True)
class Reduced:
    """What the integral depends on, a replicate: Phi (R, c, c), log|Sigma_W| (R,), mean (R, f), cov (R, f, f)."""

    phi: FloatArray
    log_det: FloatArray
    mean: FloatArray
    cov: FloatArray
    ok: BoolArray


@dataclass(frozen=True)
class Points:
    """Data of the points.

    Attributes
    ----------
    place : (r,)
        pi: the covariate that each random element multiplies.
    products : (R, k, k, P)
        M.
    sizes : (P,)
        Rows of each point.
    z : (R, pz, P)
    """

    place: IntArray
    products: FloatArray
    sizes: FloatArray
    z: FloatArray


@dataclass(frozen=True)
class Integral:
    """Log-likelihood of every point and what its derivatives need.

    Attributes
    ----------
    loglik : (R, P)
    points : Points
    beside : (R, k, r, P)
        Columns pi(l) of M.
    among : (R, r, r, P)
        M_pi(l)pi(m).
    mode : (R, r, P)
        Posterior means of u: the empirical Bayes estimates.
    spread : (R, r, r, P)
        C, their posterior covariances.
    pull : (R, f, P)
        g, the derivative with respect to the mean.
    link : (R, f, r, P)
        K_f: how g moves with b.
    weight : (R, f, f, P)
        Q_f: minus how g moves with the mean.
    ok : (R,)
    """

    loglik: FloatArray
    points: Points
    beside: FloatArray
    among: FloatArray
    mode: FloatArray
    spread: FloatArray
    pull: FloatArray
    link: FloatArray
    weight: FloatArray
    ok: BoolArray


def integrate(reduced: Reduced, points: Points) -> Integral:
    """Integrate over u at every point."""
    r, place = len(points.place), points.place
    phi, m = reduced.phi, points.products
    beside = np.take(m, place, axis=2)
    among = np.take(beside, place, axis=1)
    a = phi[:, :r, :r, None] * among
    b = phi[:, :r, r, None] * beside[:, 0]
    for k in range(1, m.shape[1]):
        b += phi[:, :r, r + k, None] * beside[:, k]
    flat = m.reshape(len(m), -1, m.shape[-1])
    q = np.matmul(phi[:, None, r:, r:].reshape(len(m), 1, -1), flat)[:, 0]

    given = condition(reduced, points.z, r)
    carry = given.carry
    factor, log_det = _inner_factor(a, given.root)
    half = common_left(given.root, swap(factor))
    spread = square(half)
    start = times(a, carry)
    slope = b - start
    move = times(spread, slope)
    link = -product(a, spread)
    for k in range(r):
        link[:, k, k] += 1.0
    pull = slope - times(a, move)
    weight = product(link, a)
    loglik = -0.5 * (
        points.sizes * ((m.shape[1] - 1) * LOG_2PI + reduced.log_det[:, None])
        + log_det
        + q
        - 2.0 * inner(carry, slope)
        - inner(carry, start)
        - inner(slope, move)
    )
    loglik += given.log_z
    if points.z.shape[1]:
        pull, link, weight = _join(pull, link, weight, given)
    ok = given.ok & np.isfinite(loglik).all(axis=-1)
    return Integral(loglik, points, beside, among, carry + move, spread, pull, link, weight, ok)


@dataclass(frozen=True)
class Given:
    """u given z.

    Attributes
    ----------
    carry : (R, r, P)
        Means.
    root : (R, r, r)
        L with L L' the covariance matrix, which may be singular.
    log_z : (R, P)
        Log density of z.
    regression : (R, r, pz)
    ground : (R, pz, pz)
        Inverse covariance matrix of z.
    error : (R, pz, P)
        ground (z - mean).
    ok : (R,)
    """

    carry: FloatArray
    root: FloatArray
    log_z: FloatArray
    regression: FloatArray
    ground: FloatArray
    error: FloatArray
    ok: BoolArray


def condition(reduced: Reduced, z: FloatArray, r: int) -> Given:
    """Condition the first r elements on the others, observed."""
    mean, cov = reduced.mean, reduced.cov
    if not z.shape[1]:
        carry = np.repeat(mean[:, :, None], z.shape[-1], axis=-1)
        log_z, regression, ground, error = np.zeros((len(z), z.shape[-1])), cov[:, :, :0], cov[:, :0, :0], z
        remaining = cov
    else:
        ground, _ = inverse(cov[:, r:, r:])
        regression = np.matmul(cov[:, :r, r:], ground)
        offset = z - mean[:, r:, None]
        error = np.matmul(ground, offset)
        _, log_det = inverse_factor(cov[:, r:, r:, None])
        log_z = -0.5 * (z.shape[1] * LOG_2PI + log_det + inner(offset, error))
        carry = mean[:, :r, None] + np.matmul(regression, offset)
        remaining = cov[:, :r, :r] - np.matmul(regression, cov[:, r:, :r])
    root = psd_factor(remaining)
    gap = np.abs(np.matmul(root, transpose(root)) - remaining).max(axis=(-2, -1))
    rounding = 1e-12 * np.abs(cov[:, :r, :r]).max(axis=(-2, -1))  # of what z explains, taken out
    ok = reduced.ok & (gap <= SINGULAR * np.abs(remaining).max(axis=(-2, -1)) + rounding)
    return Given(carry, root, log_z, regression, ground, error, ok & np.isfinite(log_z).all(axis=-1))


def _inner_factor(a: FloatArray, root: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Inverse Cholesky factor of I + L'AL, and its log-determinant."""
    matrix = common_left(transpose(root), swap(common_left(transpose(root), a)))
    for k in range(a.shape[1]):
        matrix[:, k, k] += 1.0
    return inverse_factor(matrix)


def posterior(a: FloatArray, b: FloatArray, carry: FloatArray, root: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Means (R, r, P) and covariances (R, r, r, P) of u given quadratic log-likelihoods -u'Au/2 + b'u."""
    factor, _ = _inner_factor(a, root)
    spread = square(common_left(root, swap(factor)))
    return carry + times(spread, b - times(a, carry)), spread


def _join(
    pull: FloatArray, link: FloatArray, weight: FloatArray, given: Given
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """g, K and Q of (u, z) from those of u given z: z is the limit of elements that are known exactly."""
    back = -transpose(given.regression)
    lower = common_left(back, weight)
    corner = common_left(back, swap(lower)) + given.ground[..., None]
    n, r, points = pull.shape
    f = r + lower.shape[1]
    joined = np.empty((n, f, f, points))
    joined[:, :r, :r], joined[:, r:, r:] = weight, corner
    joined[:, r:, :r], joined[:, :r, r:] = lower, lower.swapaxes(1, 2)
    return (
        np.concatenate([pull, given.error + np.matmul(back, pull)], axis=1),
        np.concatenate([link, common_left(back, link)], axis=1),
        joined,
    )


def features(found: Integral) -> FloatArray:
    """Derivatives (R, r c + k^2 + 1 + f^2 + f, P) of every point's log-likelihood.

    With respect to, in this order: the first r rows of Phi (those of K in the full-matrix convention), Q, log|Sigma_W|,
    cov (full-matrix convention), mean.
    """
    p = found.points
    n, points = found.mode.shape[0], found.mode.shape[-1]
    first = -0.5 * (found.mode[:, :, None] * found.mode[:, None] + found.spread) * found.among
    second = found.mode[:, :, None] * found.beside.swapaxes(1, 2)
    parts = [
        np.concatenate([first, second], axis=2).reshape(n, -1, points),
        -0.5 * p.products.reshape(n, -1, points),
        np.broadcast_to(-0.5 * p.sizes, (n, 1, points)),
        (0.5 * (found.pull[:, :, None] * found.pull[:, None] - found.weight)).reshape(n, -1, points),
        found.pull,
    ]
    return np.concatenate(parts, axis=1)


def gradient(found: Integral, weights: FloatArray | None = None) -> FloatArray:
    """The weighted sum over points of `features` (R, d), without making them."""
    p = found.points
    n, r, _ = found.mode.shape
    mode, spread, pull, weight, products = found.mode, found.spread, found.pull, found.weight, p.products
    sizes = np.broadcast_to(p.sizes.sum(), (n, 1))
    if weights is not None:
        mode, pull = mode * weights[:, None], pull * weights[:, None]
        spread, weight, products = (x * weights[:, None, None] for x in (spread, weight, products))
        sizes = matvec(weights[:, None], np.broadcast_to(p.sizes, weights.shape))
    first = ((mode[:, :, None] * found.mode[:, None] + spread) * found.among).sum(axis=-1)
    second = [np.matmul(mode[:, i, None], transpose(found.beside[:, :, i])) for i in range(r)]
    parts = [
        np.concatenate([-0.5 * first, np.concatenate(second, axis=1)], axis=2).reshape(n, -1),
        -0.5 * products.sum(axis=-1).reshape(n, -1),
        -0.5 * sizes,
        0.5 * (np.matmul(pull, transpose(found.pull)) - weight.sum(axis=-1)).reshape(n, -1),
        pull.sum(axis=-1),
    ]
    return np.concatenate(parts, axis=1)


def second_derivatives(found: Integral, weights: FloatArray | None = None) -> FloatArray:
    """Second derivatives (R, d, d) of the weighted sum over points, d = r c + f^2 + f: rows of Phi, cov, mean.

    With alpha_a = db - dA u and beta_a = dm + dT g of two directions a and b,

        l_ab = alpha_a' C alpha_b + alpha_a' K' beta_b + beta_a' K alpha_b - beta_a' Q beta_b
               + tr(dA_a C dA_b C)/2 - tr(dT_a K dA_b K')/2 - tr(dA_a K' dT_b K)/2 + tr(dT_a Q dT_b Q)/2.

    Parameters
    ----------
    weights : (R, P) or None
    """
    n, r, points = found.mode.shape
    f, c = found.pull.shape[1], r + found.beside.shape[1]
    load = np.concatenate([-found.mode[:, None] * found.among, found.beside.swapaxes(1, 2)], axis=2)  # (R, r, c, P)
    bend = np.concatenate([found.pull, np.ones((n, 1, points))], axis=1)  # (R, f + 1, P)
    spread, link, weight, among = found.spread, found.link, found.weight, found.among
    if weights is not None:
        spread, link, weight = (x * weights[:, None, None] for x in (spread, link, weight))
    inside = np.zeros((n, r, c, r, c))
    across = np.empty((n, r, c, f, f + 1))
    for i in range(r):
        weighted = load[:, i:] * spread[:, i, i:, None]
        block = np.matmul(load[:, i], transpose(weighted.reshape(n, -1, points))).reshape(n, c, r - i, c)
        inside[:, i, :, i:] = block
        inside[:, i:, :, i] = block.transpose(0, 2, 3, 1)
        weighted = load[:, i, None] * link[:, :, i, None]
        block = np.matmul(weighted.reshape(n, -1, points), transpose(bend)).reshape(n, f, c, f + 1)
        across[:, i] = block.transpose(0, 2, 1, 3)
    for i in range(r):
        for j in range(i, r):
            factor = 0.5 * found.spread[:, :, i, None] * spread[:, None, :, j] * (among * among[:, i, j, None, None])
            block = factor.sum(axis=-1)
            inside[:, :, :r, i, j] += transpose(block)
            if j > i:
                inside[:, :, :r, j, i] += block
            outer = np.matmul(link[:, :, i] * among[:, i, j, None], transpose(found.link[:, :, j]))
            outer *= -0.5
            across[:, i, j, :, :f] += transpose(outer)
            if j > i:
                across[:, j, i, :, :f] += outer
    upper = _outer_products(bend)
    between = -np.matmul(weight.reshape(n, -1, points), transpose(upper)).reshape(n, f, f, f + 1, f + 1)
    between = np.ascontiguousarray(between.transpose(0, 1, 3, 2, 4))  # (R, f, f + 1, f, f + 1)
    gram = np.matmul(weight.reshape(n, -1, points), transpose(found.weight.reshape(n, -1, points)))
    between[:, :, :f, :, :f] += 0.5 * gram.reshape(n, f, f, f, f).transpose(0, 4, 1, 2, 3)
    return _assemble(inside.reshape(n, r * c, r * c), across.reshape(n, r * c, f, f + 1), between)


def _outer_products(x: FloatArray) -> FloatArray:
    """All products (R, m m, P) of the entries of vectors (R, m, P)."""
    n, m, points = x.shape
    return (x[:, :, None] * x[:, None]).reshape(n, m * m, points)


def _assemble(inside: FloatArray, across: FloatArray, between: FloatArray) -> FloatArray:
    """Put (cov row by row, mean) of the between coordinates into the order cov, mean."""
    n, w = inside.shape[:2]
    f = across.shape[2]
    across = np.concatenate([across[..., :f].reshape(n, w, -1), across[..., f]], axis=-1)
    cov, mean = between[:, :, :f], between[:, :, f]
    parts = [
        [inside, across],
        [
            transpose(across),
            np.concatenate(
                [
                    np.concatenate([x[..., :f].reshape(n, -1, f * f), x[..., f].reshape(n, -1, f)], axis=-1)
                    for x in (cov.reshape(n, f * f, f, f + 1), mean)
                ],
                axis=1,
            ),
        ],
    ]
    return np.concatenate([np.concatenate(row, axis=-1) for row in parts], axis=1)

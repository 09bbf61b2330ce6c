"""The Gaussian integral over a cluster's random elements, at many points at once (theory D1.1, D1.2, D1.7).

A point is a cluster, or a cluster at one quadrature node. Its rows have the residuals eps_i = X xi_i ~ N(0, Sigma_W),
where xi_i = (-u_l c_i,pi(l); c_i), c_i = (1, v_i), and X = [columns of u | -mu_W | I]: every random element u_l
multiplies one covariate, number pi(l). With Phi = X' Sigma_W^-1 X = [[K, F], [F', Q]] and M = sum c_i c_i', the
log-likelihood given u is quadratic in u with the curvature and slope

    A_lm = K_lm M_pi(l)pi(m),    b_l = sum_a F_la M_a,pi(l),    q = tr(Q M),

and (u, z) ~ N(mean, cov), z observed. The integral is the normal one (Woodbury's form: T may be singular, clusters may
be smaller than r). Its derivatives are those with respect to Phi, log|Sigma_W|, cov and mean; the chain rule to
parameters is `chain`.

Where values are missing, rows of one pattern of observed variables have a Phi of their own, that of the rows of X and
of the rows and columns of Sigma_W that are observed, and A, b and q are sums over a point's patterns. Of z, points know
what they have; the rest is integrated out. Complete data are the case of one pattern.

Axis letters: R replicates, P points, r random elements, f = r + pz elements and observed level-2 variables, k = p1 + 1
covariates, c = r + k, O patterns of level-1 variables, Z patterns of level-2 variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from simstudy.data.products import Products
from simstudy.linalg.entrywise import common_left, inner, inverse_factor, product, square, swap, times
from simstudy.linalg.psd import psd_factor
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, columns, inverse, submatrix, transpose

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
    products : tuple of (R, k, k, P), length O
        M of the rows of each pattern, 0 where a variable is missing; its first entry is the number of rows.
    patterns : (O, p1)
        Variables that rows of each pattern have.
    z : (R, pz, P)
        0 where missing.
    z_patterns : (Z, pz)
    z_pattern : (R, P)
        Which of them a point has.
    """

    place: IntArray
    products: tuple[FloatArray, ...]
    patterns: BoolArray
    z: FloatArray
    z_patterns: BoolArray
    z_pattern: IntArray

    @classmethod
    def of(cls, place: IntArray, data: Products) -> Points:
        """The clusters themselves."""
        return cls(place, data.by_pattern, data.patterns, data.clusters, data.z_patterns, data.z_pattern)

    def given(self, covariates: IntArray, t: FloatArray) -> Points:
        """Every cluster at n values t (R, d, P n), which stand one after another: more level-2 variables, observed.

        Of the variables at the places ``covariates``, rows are deviations from them.
        """
        n = t.shape[-1] // self.z.shape[-1]
        products = tuple(shift(np.repeat(m, n, axis=-1), covariates, t) for m in self.products)
        z = np.concatenate([np.repeat(self.z, n, axis=-1), t], axis=1)
        seen = np.ones((len(self.z_patterns), t.shape[1]), dtype=bool)
        z_patterns = np.concatenate([self.z_patterns, seen], axis=1)
        return Points(self.place, products, self.patterns, z, z_patterns, np.repeat(self.z_pattern, n, axis=-1))


def shift(products: FloatArray, covariates: IntArray, t: FloatArray) -> FloatArray:
    """Cross-products M (R, k, k, P) of variables less t (R, d, P) at the places ``covariates``."""
    moved = products.copy()
    for d, place in enumerate(covariates):
        moved[:, place] -= t[:, d, None] * moved[:, 0]
        moved[:, :, place] -= t[:, d, None] * moved[:, :, 0]
    return moved


@dataclass(frozen=True)
class Rows:
    """Rows of one pattern.

    Attributes
    ----------
    products : (R, k, k, P)
        M.
    beside : (R, k, r, P)
        Columns pi(l) of M.
    among : (R, r, r, P)
        M_pi(l)pi(m).
    """

    products: FloatArray
    beside: FloatArray
    among: FloatArray

    @classmethod
    def of(cls, products: FloatArray, place: IntArray) -> Rows:
        """Pick the columns and entries of the covariates that random elements multiply."""
        beside = np.take(products, place, axis=2)
        return cls(products, beside, np.take(beside, place, axis=1))

    @property
    def sizes(self) -> FloatArray:
        """Number of rows (R, P)."""
        return self.products[:, 0, 0]


@dataclass(frozen=True)
class Quadratic:
    """The log-likelihood given u: -(base + q)/2 + b'u - u'Au/2, with A (R, r, r, P), b (R, r, P), base and q (R, P)."""

    a: FloatArray
    b: FloatArray
    base: FloatArray
    q: FloatArray

    def plus(self, other: Quadratic) -> Quadratic:
        """The sum of two."""
        return Quadratic(self.a + other.a, self.b + other.b, self.base + other.base, self.q + other.q)


@dataclass(frozen=True)
class Solution:
    """Log-likelihood of every point, and what its derivatives need.

    Attributes
    ----------
    loglik : (R, P)
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
    """

    loglik: FloatArray
    mode: FloatArray
    spread: FloatArray
    pull: FloatArray
    link: FloatArray
    weight: FloatArray


@dataclass(frozen=True)
class Integral(Solution):
    """The solution, with the rows of each pattern, level-2 values (R, pz, P), and where all that exists (R,)."""

    rows: tuple[Rows, ...]
    z: FloatArray
    ok: BoolArray


def integrate(reduced: Sequence[Reduced], points: Points) -> Integral:
    """Integrate over u at every point.

    Parameters
    ----------
    reduced : sequence of Reduced
        One a pattern of level-1 variables.
    points : Points
    """
    first, z, r = reduced[0], points.z, len(points.place)
    rows = tuple(Rows.of(products, points.place) for products in points.products)
    form = _quadratic(reduced, rows, points.patterns.sum(axis=1).tolist())
    ok = first.ok
    merged: Solution | None = None
    for number, seen in enumerate(points.z_patterns):
        here = points.z_pattern == number
        given = condition_on(first, z, r, seen)
        ok = ok & (given.ok | ~here.any(axis=-1))
        found = _solve(form, given)
        merged = found if merged is None else _merge(merged, found, here)
    assert merged is not None
    ok = ok & np.isfinite(merged.loglik).all(axis=-1)
    return Integral(**vars(merged), rows=rows, z=z, ok=ok)


def log_integral(reduced: Sequence[Reduced], points: Points) -> tuple[FloatArray, BoolArray]:
    """Log-likelihood of every point (R, P), and where all exist (R,): `integrate` without what derivatives need."""
    first, r = reduced[0], len(points.place)
    rows = tuple(Rows.of(products, points.place) for products in points.products)
    form = _quadratic(reduced, rows, points.patterns.sum(axis=1).tolist())
    ok, value = first.ok, np.zeros_like(form.q)
    for number, seen in enumerate(points.z_patterns):
        here = points.z_pattern == number
        given = condition_on(first, points.z, r, seen)
        ok = ok & (given.ok | ~here.any(axis=-1))
        factor, log_det = _inner_factor(form.a, given.root)
        start = times(form.a, given.carry)
        slope = form.b - start
        whitened = times(factor, common_left(transpose(given.root), slope))
        value = np.where(here, _value(form, given, log_det, start, slope, inner(whitened, whitened)), value)
    return value, ok & np.isfinite(value).all(axis=-1)


def _value(
    form: Quadratic, given: Given, log_det: FloatArray, start: FloatArray, slope: FloatArray, moved: FloatArray
) -> FloatArray:
    """Log-likelihood (R, P); ``moved`` is slope' C slope."""
    half = form.base + log_det + form.q - 2.0 * inner(given.carry, slope) - inner(given.carry, start) - moved
    value: FloatArray = given.log_z - 0.5 * half
    return value


def _quadratic(reduced: Sequence[Reduced], rows: Sequence[Rows], observed: Sequence[int]) -> Quadratic:
    """Sums over patterns."""
    total: Quadratic | None = None
    for one, mine, n_observed in zip(reduced, rows, observed, strict=True):
        phi, m, r = one.phi, mine.products, mine.among.shape[1]
        a = phi[:, :r, :r, None] * mine.among
        b = phi[:, :r, r, None] * mine.beside[:, 0]
        for k in range(1, m.shape[1]):
            b += phi[:, :r, r + k, None] * mine.beside[:, k]
        flat = m.reshape(len(m), -1, m.shape[-1])
        q = np.matmul(phi[:, None, r:, r:].reshape(len(m), 1, -1), flat)[:, 0]
        base = mine.sizes * (n_observed * LOG_2PI + one.log_det[:, None])
        found = Quadratic(a, b, base, q)
        total = found if total is None else total.plus(found)
    assert total is not None
    return total


def _solve(form: Quadratic, given: Given) -> Solution:
    """Integrate over u given one pattern of level-2 variables."""
    a, b, carry = form.a, form.b, given.carry
    factor, log_det = _inner_factor(a, given.root)
    half = common_left(given.root, swap(factor))
    spread = square(half)
    start = times(a, carry)
    slope = b - start
    move = times(spread, slope)
    link = -product(a, spread)
    for k in range(a.shape[1]):
        link[:, k, k] += 1.0
    pull = slope - times(a, move)
    weight = product(link, a)
    loglik = _value(form, given, log_det, start, slope, inner(slope, move))
    if given.ground.shape[-1]:
        pull, link, weight = _join(pull, link, weight, given)
    return Solution(loglik, carry + move, spread, pull, link, weight)


def _merge(first: Solution, second: Solution, where: BoolArray) -> Solution:
    """The second solution at the points in ``where`` (R, P), the first elsewhere."""

    def either(name: str) -> FloatArray:
        a, b = getattr(first, name), getattr(second, name)
        chosen: FloatArray = np.where(where.reshape(len(where), *[1] * (a.ndim - 2), -1), b, a)
        return chosen

    return Solution(*(either(field.name) for field in fields(first)))


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


def condition_on(reduced: Reduced, z: FloatArray, r: int, seen: BoolArray) -> Given:
    """Condition on those of the level-2 variables that are in ``seen`` (pz,); the others have zeros in all places."""
    if seen.all():
        return condition(reduced, z, r)
    at = np.flatnonzero(seen).astype(np.int64)
    order = np.concatenate([np.arange(r), r + at])
    some = replace(reduced, mean=columns(reduced.mean, order), cov=submatrix(reduced.cov, order, order))
    given = condition(some, np.take(z, at, axis=1), r)
    n, pz = len(z), len(seen)
    regression, ground, error = np.zeros((n, r, pz)), np.zeros((n, pz, pz)), np.zeros_like(z)
    regression[:, :, at], ground[:, at[:, None], at], error[:, at] = given.regression, given.ground, given.error
    return replace(given, regression=regression, ground=ground, error=error)


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

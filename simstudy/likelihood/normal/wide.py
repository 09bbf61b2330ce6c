"""Two-level normal log-likelihood in wide form: the multivariate normal of every cluster, written out.

The vector y_j of cluster j holds what is observed of its persons and of itself. Entry i is variable v_i of person k_i,

    E y_i = mu[v_i],    Cov(y_i, y_l) = Sigma_B[v_i, v_l] + (k_i = k_l) Sigma_W[v_i, v_l],

so that complete clusters have I (x) Sigma_W + 11' (x) Sigma_B, bordered by the level-2 variables, and unequal sizes and
missing values are the same thing: a shorter vector (McDonald & Goldstein 1989; Mehta & Neale 2005). With P = V^-1,
r = y - mu, w = P r and V_a = dV / d theta_a,

    l = -(log|V| + r'w + M log 2 pi) / 2,    l_a = (w'V_a w - tr P V_a) / 2 + mu_a'w,
    expected  I_ab = tr(P V_a P V_b) / 2 + mu_a'P mu_b,
    observed  H_ab = w'V_a P V_b w - tr(P V_a P V_b) / 2 + mu_a'P V_b w + mu_b'P V_a w + mu_a'P mu_b
                     + tr((P - w w') V_ab) / 2 - w'mu_ab,

the textbook formulas for any normal vector. Nothing is reduced: the cost grows with the cube of the vector's length.
That is what makes this file an oracle for `two_level` and `incomplete`, with which it shares the implied moments only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from simstudy.data.wide import WideData, WideGroup
from simstudy.likelihood.evaluation import Evaluation, Likelihood
from simstudy.likelihood.normal.half_vectors import frobenius
from simstudy.linalg.stacked import (
    BoolArray,
    FloatArray,
    IntArray,
    cholesky,
    columns,
    dot,
    inverse,
    matvec,
    submatrix,
    transpose,
)
from simstudy.model.implied import LevelImplied, LevelStructure, TwoLevelStructure

# V counts as singular where an entry keeps less than this share of its variance, given those before it. With unequal
# sizes and few clusters of the largest one, l rises without bound towards such points.
SINGULAR = 1e-7
# Numbers in the derivatives of one covariance matrix over a chunk of replicates: 2 MB.
CHUNK = 250_000


@dataclass(frozen=True)
class _Moments:
    """Implied moments over all p variables, with zero rows for those that do not live on the level."""

    implied_within: LevelImplied
    implied_between: LevelImplied
    mu: FloatArray  # (R, p)
    within: FloatArray  # (R, p, p)
    between: FloatArray  # (R, p, p)
    ok: BoolArray


@dataclass(frozen=True)
class _Derivatives:
    """First derivatives of the moments: mu (R, q, p), Sigma_W and Sigma_B (R, q, p, p)."""

    mu: FloatArray
    within: FloatArray
    between: FloatArray


@dataclass(frozen=True)
class _Normal:
    """A group's normal distribution at parameter values, and how its clusters lie in it."""

    same: FloatArray  # 1 where two entries belong to one person (M, M)
    precision: FloatArray  # P (R, M, M)
    log_det: FloatArray  # (R,)
    r: FloatArray  # (R, C, M)
    w: FloatArray  # (R, C, M)
    ok: BoolArray


class WideLikelihood(Likelihood[WideData]):
    """Log-likelihood of a model for clusters in wide form, complete or not.

    Parameters
    ----------
    structure : TwoLevelStructure
    """

    def __init__(self, structure: TwoLevelStructure) -> None:
        self.structure = structure
        self.p = structure.p1 + structure.p2

    # ------------------------------------------------------------------ log-likelihood, score, expected information

    def loglik(self, params: FloatArray, data: WideData) -> tuple[FloatArray, BoolArray]:
        """Log-likelihood (R,) alone, and where it exists."""

        def one(some: FloatArray, part: WideData) -> tuple[Any, ...]:
            moments = self._moments(some)
            total, ok = np.zeros(len(some)), moments.ok.copy()
            for group in part.groups:
                normal = _normal(group, moments)
                total, ok = total + _loglik(group, normal), ok & normal.ok
            return np.where(ok, total, -np.inf), ok

        total, ok = self._by_chunk(one, params, data)
        return total, ok

    def evaluate(self, params: FloatArray, data: WideData) -> Evaluation:
        """Log-likelihood, score and expected information given what is observed, at parameters (R, q)."""
        loglik, score, information, ok = self._by_chunk(self._evaluate, params, data)
        return Evaluation(loglik, score, information, ok)

    def _evaluate(self, params: FloatArray, data: WideData) -> tuple[Any, ...]:
        n, q = params.shape
        moments = self._moments(params)
        first = self._derivatives(moments, q)
        loglik, score, information, ok = np.zeros(n), np.zeros((n, q)), np.zeros((n, q, q)), moments.ok.copy()
        for group in data.groups:
            normal = _normal(group, moments)
            clusters = group.values.shape[1]
            d_mean, d_cov = _group_derivatives(group, normal, first)
            turned = np.matmul(normal.precision[:, None], d_cov)  # P V_a
            score += _inner(d_cov, _gradient(normal)) + matvec(d_mean, _total(normal.w))
            information += 0.5 * clusters * frobenius(transpose(turned), turned)
            information += clusters * np.matmul(np.matmul(d_mean, normal.precision), transpose(d_mean))
            loglik, ok = loglik + _loglik(group, normal), ok & normal.ok
        ok &= np.isfinite(loglik) & np.isfinite(score).all(axis=-1)
        return np.where(ok, loglik, -np.inf), score, 0.5 * (information + transpose(information)), ok

    # ------------------------------------------------------------------ observed information and cluster-wise scores

    def observed_information(self, params: FloatArray, data: WideData) -> FloatArray:
        """Minus the exact second derivatives of l (R, q, q)."""
        (result,) = self._by_chunk(lambda some, part: (self._observed(some, part),), params, data)
        return np.asarray(result)

    def _observed(self, params: FloatArray, data: WideData) -> FloatArray:
        n, q = params.shape
        moments = self._moments(params)
        first = self._derivatives(moments, q)
        result = np.zeros((n, q, q))
        on_within, on_between = np.zeros((n, self.p, self.p)), np.zeros((n, self.p, self.p))  # dl / dSigma
        on_mean = np.zeros((n, self.p))
        for group in data.groups:
            normal = _normal(group, moments)
            clusters = group.values.shape[1]
            d_mean, d_cov = _group_derivatives(group, normal, first)
            turned = np.matmul(normal.precision[:, None], d_cov)
            products = np.matmul(transpose(normal.w), normal.w)
            middle = np.matmul(products[:, None], d_cov) - 0.5 * clusters * turned  # (sum w w') V_a - C P V_a / 2
            result += frobenius(transpose(middle), turned)
            cross = np.matmul(d_mean, transpose(matvec(turned, _total(normal.w)[:, None])))  # mu_a'P V_b w
            result += cross + transpose(cross)
            result += clusters * np.matmul(np.matmul(d_mean, normal.precision), transpose(d_mean))
            place = np.eye(self.p)[group.variable]  # (M, p)
            gradient = _gradient(normal)
            on_between += np.matmul(np.matmul(place.T, gradient), place)
            on_within += np.matmul(np.matmul(place.T, gradient * normal.same), place)
            on_mean += matvec(place.T, _total(normal.w))
        for level, implied, at, on in (
            (self.structure.within, moments.implied_within, np.arange(self.structure.p1), on_within),
            (self.structure.between, moments.implied_between, self.structure.between.positions, on_between),
        ):
            result -= level.curvature(implied, submatrix(on, at, at), columns(on_mean, at), q)
        return 0.5 * (result + transpose(result))

    def cluster_scores(self, params: FloatArray, data: WideData) -> FloatArray:
        """Score of every cluster (R, J, q), in the order of the groups; they add up to the score."""
        (result,) = self._by_chunk(lambda some, part: (self._cluster_scores(some, part),), params, data)
        return np.asarray(result)

    def _cluster_scores(self, params: FloatArray, data: WideData) -> FloatArray:
        moments = self._moments(params)
        first = self._derivatives(moments, params.shape[-1])
        found = []
        for group in data.groups:
            normal = _normal(group, moments)
            d_mean, d_cov = _group_derivatives(group, normal, first)
            w = normal.w[:, None]  # (R, 1, C, M)
            quadratic = dot(np.matmul(w, d_cov), np.broadcast_to(w, (*d_cov.shape[:2], *w.shape[2:])))  # (R, q, C)
            expected = _inner(d_cov, normal.precision)
            found.append(transpose(0.5 * (quadratic - expected[..., None]) + np.matmul(d_mean, transpose(normal.w))))
        return np.concatenate(found, axis=1)

    # ------------------------------------------------------------------ moments

    def _moments(self, params: FloatArray) -> _Moments:
        s = self.structure
        within, between = s.within.implied(params), s.between.implied(params)
        mu, sigma_within, sigma_between = s.assemble(within, between)
        padded = np.zeros((len(params), self.p, self.p))
        padded[:, : s.p1, : s.p1] = sigma_within
        return _Moments(within, between, mu, padded, sigma_between, within.ok & between.ok)

    def _derivatives(self, moments: _Moments, q: int) -> _Derivatives:
        n, s = len(moments.mu), self.structure
        mu, within, between = np.zeros((n, q, self.p)), *np.zeros((2, n, q, self.p, self.p))
        for level, implied, at, target in (
            (s.within, moments.implied_within, np.arange(s.p1), within),
            (s.between, moments.implied_between, s.between.positions, between),
        ):
            _add_level(level, implied, at, target, mu)
        return _Derivatives(mu, within, between)

    def _by_chunk(
        self, function: Callable[[FloatArray, WideData], tuple[Any, ...]], params: FloatArray, data: WideData
    ) -> tuple[Any, ...]:
        """Apply a function to some replicates at a time, so that their derivatives stay in the processor's cache."""
        longest = max((group.length for group in data.groups), default=1)
        size = max(1, CHUNK // (max(1, params.shape[-1]) * longest**2))
        with np.errstate(all="ignore"):
            parts = [function(params[some], data.select(some)) for some in _slices(len(params), size)]
        return tuple(np.concatenate(pieces) for pieces in zip(*parts, strict=True))


def _slices(n: int, size: int) -> Iterator[slice]:
    for start in range(0, max(n, 1), size):
        yield slice(start, min(start + size, n))


def _add_level(level: LevelStructure, implied: LevelImplied, at: IntArray, cov: FloatArray, mean: FloatArray) -> None:
    """Add a level's derivatives to those of Sigma (R, q, p, p) and mu (R, q, p), at the places of its variables."""
    t = level.moment_derivatives(implied)
    for k, free in enumerate(level.cov_free):
        product = t.left[..., :, None, k] * t.right[..., None, :, k]
        cov[:, free, at[:, None], at] += product + transpose(product)
    slopes = level.mean_derivatives(implied)
    for k, free in enumerate(level.mean_free):
        mean[:, free, at] += slopes[..., k]


def _normal(group: WideGroup, moments: _Moments) -> _Normal:
    v = group.variable
    same = (group.person[:, None] == group.person).astype(float)
    cov = submatrix(moments.between, v, v) + same * submatrix(moments.within, v, v)
    factor, ok = cholesky(cov)
    pivots = np.diagonal(factor, axis1=-2, axis2=-1)
    kept = pivots**2 / np.diagonal(cov, axis1=-2, axis2=-1)
    lower, _ = inverse(factor)
    precision = np.matmul(transpose(lower), lower)
    r = group.values - columns(moments.mu, v)[:, None]
    ok = ok & (kept.min(axis=-1) > SINGULAR)
    return _Normal(same, precision, 2.0 * np.log(pivots).sum(axis=-1), r, np.matmul(r, precision), ok)


def _loglik(group: WideGroup, normal: _Normal) -> FloatArray:
    _, clusters, length = group.values.shape
    flat = (len(normal.r), clusters * length)
    squares = dot(normal.r.reshape(flat), normal.w.reshape(flat))
    result: FloatArray = -0.5 * (clusters * (normal.log_det + length * np.log(2.0 * np.pi)) + squares)
    return result


def _gradient(normal: _Normal) -> FloatArray:
    """Derivative G of l with respect to V (R, M, M), in the convention dl = tr(G dV)."""
    clusters = normal.w.shape[1]
    gradient: FloatArray = 0.5 * (np.matmul(transpose(normal.w), normal.w) - clusters * normal.precision)
    return gradient


def _group_derivatives(group: WideGroup, normal: _Normal, first: _Derivatives) -> tuple[FloatArray, FloatArray]:
    """Derivatives of a group's mean (R, q, M) and covariance matrix (R, q, M, M)."""
    v = group.variable
    return columns(first.mu, v), submatrix(first.between, v, v) + normal.same * submatrix(first.within, v, v)


def _inner(derivatives: FloatArray, matrix: FloatArray) -> FloatArray:
    """tr(V_a G) for stacks (R, q, M, M) and (R, M, M): (R, q)."""
    n, q = derivatives.shape[:2]
    return matvec(derivatives.reshape(n, q, -1), matrix.reshape(n, -1))


def _total(w: FloatArray) -> FloatArray:
    """Sum over clusters (R, M)."""
    result: FloatArray = np.matmul(np.ones(w.shape[1]), w)
    return result

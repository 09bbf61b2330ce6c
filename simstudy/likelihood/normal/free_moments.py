"""Scoring of the unrestricted two-level model in coordinates where its information is diagonal but for pairs.

Where mu, Sigma_W and Sigma_B are free, every symmetric change of them is possible, so that it can be described by its
rotated entries m = P dmu, W = P_1 dSigma_W P_1', B = P dSigma_B P' (`two_level`; P_1 the level-1 block of P). There the
expected information of a coordinate pair (k, l) with those of other pairs is 0: with e = 1/2 for k = l, 1 elsewhere,
w_k(n) = 1 / (d_k + 1/n) and c_n clusters of size n,

    I[W_kl, W_kl] = e {N - J + sum_n c_n w_k w_l / n^2},  I[W_kl, B_kl] = e sum_n c_n w_k w_l / n,
    I[B_kl, B_kl] = e sum_n c_n w_k w_l,                  I[m_k, m_k] = sum_n c_n w_k.

A scoring step is one 2 x 2 system a pair, O(p^3 + S p^2) in place of O(p^6). The observed information has p^3 entries
that are not 0; whether it is positive definite does not depend on the coordinates.
"""

from __future__ import annotations

import numpy as np

from simstudy.likelihood.evaluation import Evaluation
from simstudy.likelihood.normal.two_level import Data, TwoLevelLikelihood
from simstudy.linalg.stacked import (
    BoolArray,
    FloatArray,
    IntArray,
    dot,
    entries,
    inverse,
    is_spd,
    matvec,
    transpose,
)
from simstudy.model.implied import LevelStructure, TwoLevelStructure

# Relative determinant of a pair's information below which it counts as singular, as `stacked.RCOND`.
SINGULAR_PAIR = 1e-14


def has_free_moments(structure: TwoLevelStructure) -> bool:
    """Whether a model's parameters are all means, variances and covariances of both levels, each free and one's own."""
    w, b = structure.within, structure.between
    p1, p = structure.p1, structure.p1 + structure.p2
    means = b.maps.means
    return (
        structure.q == p1 * (p1 + 1) // 2 + p * (p + 1) // 2 + p
        and not w.has_means
        and len(means.row) == len(np.unique(means.row)) == p == b.n_observed
        and _is_free(w, p1)
        and _is_free(b, p)
    )


def _is_free(level: LevelStructure, p: int) -> bool:
    maps = level.maps
    return len(maps.variables) == p and not len(maps.paths.row) and len(maps.covariances.row) == p * (p + 1) // 2


class FreeMoments:
    """The likelihood of a model with free moments (`has_free_moments`), and the metric of its scoring steps.

    ``score`` and ``information`` of its evaluations are those of the rotated coordinates, the latter (R, m) packed:
    P, then I[W, W], I[B, B], I[W, B] of the pairs, then I[m, m].
    """

    def __init__(self, likelihood: TwoLevelLikelihood) -> None:
        self.likelihood = likelihood
        s, half = likelihood.structure, likelihood.half
        self.p1, self.p, self.n_pairs, self.n_within = s.p1, s.p1 + s.p2, len(half.row), half.n_within
        w, b = s.within.maps, s.between.maps
        at = b.positions
        self._within = _places(w.covariances.row, w.covariances.column, w.covariances.free, np.arange(s.p1))
        self._between = _places(b.covariances.row, b.covariances.column, b.covariances.free, at)
        self._mean_row, self._mean_free = at[b.means.row], b.means.free

    # ------------------------------------------------------------------ evaluation

    def evaluate(self, params: FloatArray, data: Data) -> Evaluation:
        """Log-likelihood, rotated score and packed information at parameters (R, q)."""
        like, half, n = self.likelihood, self.likelihood.half, self.n_within
        with np.errstate(all="ignore"):
            rotation = like.rotate(params)
            r, scatter = like.rotated_scatter(rotation, data)
            within = like.within_scatter(rotation, data)
            loglik = like.loglik_of(rotation, scatter, within)
            grad_within, grad_between, grad_mean, ww = like.gradients(rotation, r, scatter, within)
            score = np.concatenate(
                [
                    -half.weight[:n] * half.of(grad_within, n),
                    -half.weight * half.of(grad_between, self.n_pairs),
                    grad_mean,
                ],
                axis=-1,
            )
            omega = like.pair_weights(ww)
            own = omega[:, :n, 2] + (like.n_obs - like.n_clusters) * half.weight[:n]
            mean_weight = np.matmul(1.0 / rotation.variances, like.mean_counts[:, None])[..., 0]
            information = np.concatenate(
                [rotation.matrix.reshape(len(params), -1), own, omega[..., 0], omega[:, :n, 1], mean_weight], axis=-1
            )
        ok = rotation.ok & np.isfinite(loglik) & np.isfinite(score).all(axis=-1)
        return Evaluation(loglik, score, information, ok)

    # ------------------------------------------------------------------ metric

    def solve(self, information: FloatArray, score: FloatArray) -> tuple[FloatArray, BoolArray]:
        """I^-1 g (R, q) in rotated coordinates, and where I is positive definite (R,)."""
        return self._raised(information, score, np.zeros(len(score)))

    def damped(self, information: FloatArray, score: FloatArray, damping: FloatArray) -> FloatArray:
        """(I + lambda diag I)^-1 g (R, q)."""
        return self._raised(information, score, damping)[0]

    def _raised(self, information: FloatArray, score: FloatArray, damping: FloatArray) -> tuple[FloatArray, BoolArray]:
        n, m = self.n_within, self.n_within + self.n_pairs
        own, other, cross, mean = self._parts(information)
        lift = 1.0 + damping[:, None]
        a, c = own * lift, other * lift
        g, h = score[:, :n], score[:, n:m]
        with np.errstate(all="ignore"):
            det = a * c[:, :n] - cross * cross
            ok: BoolArray = np.asarray((det > SINGULAR_PAIR * a * c[:, :n]).all(axis=-1) & (c > 0).all(axis=-1))
            step = np.empty_like(score)
            step[:, :n] = (c[:, :n] * g - cross * h[:, :n]) / det
            step[:, n : n + n] = (a * h[:, :n] - cross * g) / det
            step[:, n + n : m] = h[:, n:] / c[:, n:]
            step[:, m:] = score[:, m:] / (mean * lift)
        return np.where(ok[:, None], step, np.nan), ok

    def curvature(self, information: FloatArray, step: FloatArray) -> FloatArray:
        """S' I s (R,)."""
        n, m = self.n_within, self.n_within + self.n_pairs
        own, other, cross, mean = self._parts(information)
        w, b = step[:, :n], step[:, n:m]
        return (
            dot(own * w, w) + dot(other * b, b) + 2.0 * dot(cross * w, b[:, :n]) + dot(mean * step[:, m:], step[:, m:])
        )

    def move(self, information: FloatArray, step: FloatArray) -> FloatArray:
        """The parameters' change (R, q) that a step in rotated coordinates is."""
        n, m, p, p1 = self.n_within, self.n_within + self.n_pairs, self.p, self.p1
        back, _ = inverse(information[:, : p * p].reshape(len(step), p, p))
        small = np.ascontiguousarray(back[:, :p1, :p1])
        result = np.zeros_like(step)
        for matrix, part, size, (row, column, free) in (
            (small, step[:, :n], p1, self._within),
            (back, step[:, n:m], p, self._between),
        ):
            rotated = self.likelihood.half.full(part[..., None], size)[:, 0]
            change = np.matmul(np.matmul(matrix, rotated), transpose(matrix))
            result[:, free] = entries(change, row, column)
        result[:, self._mean_free] = np.take(matvec(back, np.ascontiguousarray(step[:, m:])), self._mean_row, axis=-1)
        return result

    def _parts(self, information: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        n, k = self.n_within, self.n_pairs
        at = np.cumsum([self.p * self.p, n, k, n, self.p])
        return (
            information[:, at[0] : at[1]],
            information[:, at[1] : at[2]],
            information[:, at[2] : at[3]],
            information[:, at[3] : at[4]],
        )

    # ------------------------------------------------------------------ verdict

    def is_maximum(self, params: FloatArray, data: Data) -> BoolArray:
        """Where the observed information (in rotated coordinates) is positive definite (R,)."""
        like, n, m, p, p1 = self.likelihood, self.n_within, self.n_within + self.n_pairs, self.p, self.p1
        with np.errstate(all="ignore"):
            rotation = like.rotate(params)
            r, scatter = like.rotated_scatter(rotation, data)
            w = 1.0 / rotation.variances
            triple, cross = like.second_kernels(w, r, scatter)
            within = like.within_scatter(rotation, data) - 0.5 * (like.n_obs - like.n_clusters) * np.eye(p1)
            triple[:, :p1, :p1, :p1, 2] += within[:, None]
            result = np.zeros((len(params), m + p, m + p))
            pair = _pair_index(p)
            result[:, :n, :n] = _fill(triple[:, :p1, :p1, :p1, 2], pair[:p1, :p1], n)
            result[:, n:m, n:m] = _fill(triple[..., 0], pair, self.n_pairs)
            both = _fill(triple[:, :p1, :p1, :, 1], pair[:p1], self.n_pairs)[:, :n]
            result[:, :n, n:m], result[:, n:m, :n] = both, transpose(both)
            k, j = np.indices((p, p)).reshape(2, -1)
            mean = np.zeros((len(params), p, self.n_pairs))
            mean[:, k, pair[k, j]] = cross[..., 0].reshape(len(params), -1)
            result[:, m:, n:m], result[:, n:m, m:] = mean, transpose(mean)
            k, j = np.indices((p1, p1)).reshape(2, -1)
            mean = np.zeros((len(params), p, n))
            mean[:, k, pair[k, j]] = cross[:, :p1, :p1, 1].reshape(len(params), -1)
            result[:, m:, :n], result[:, :n, m:] = mean, transpose(mean)
            at = np.arange(m, m + p)
            result[:, at, at] = np.matmul(w, like.mean_counts[:, None])[..., 0]
            return is_spd(result)


def _places(row: IntArray, column: IntArray, free: IntArray, at: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    return at[row], at[column], free


def _pair_index(p: int) -> IntArray:
    """Place (p, p) of each pair among the half vectors."""
    low, high = np.minimum(*np.indices((p, p))), np.maximum(*np.indices((p, p)))
    return np.asarray(high * (high + 1) // 2 + low, dtype=np.int64)


def _fill(kernel: FloatArray, pair: IntArray, n: int) -> FloatArray:
    """Sums of D_a[jk] kernel[k, j, l] D_b[kl] over unit symmetric matrices of the pairs a, b: (R, n, n).

    ``kernel`` is (R, K, J, L); two different pairs share one k at most, so that entries are put, not added up.
    """
    size = kernel.shape[1:]
    k, j, m = np.indices(size).reshape(3, -1)
    result = np.zeros((len(kernel), n, n))
    flat = np.ascontiguousarray(kernel).reshape(len(kernel), -1)
    apart = j != m
    result[:, pair[k, j][apart], pair[k, m][apart]] = flat[:, apart]
    same = np.flatnonzero(~apart)
    for first in (True, False):  # a pair (k, j) meets itself twice, unless k = j
        chosen = same[(k[same] <= j[same]) if first else (k[same] > j[same])]
        at = pair[k[chosen], j[chosen]]
        result[:, at, at] += flat[:, chosen]
    return result

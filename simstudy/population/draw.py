"""Random data of a population: raw rows, or directly the statistics that random-intercept models need.

The three functions give *the same data sets* in more and more detail:

- `draw_statistics`: pooled within scatter and cluster means;
- `draw_cluster_statistics`: the same numbers, and every cluster's own scatter;
- `draw_sample`: the rows. Their statistics are those numbers up to rounding.

Why this is exact (THEORY B10). With L L' = Sigma_W, the rows' deviations from their cluster means, in any orthonormal
contrasts, are E = X L', where X ((N - J) x p1) holds independent standard normals, independent of the cluster means
v_j ~ N(mu, Sigma_B + Sigma_W / n_j). Write X = Q A' with A the Cholesky factor of X'X. A is Bartlett's: lower
triangular, independent entries, A_ii^2 ~ chi^2 with N - J - i + 1 degrees of freedom, A_ij ~ N(0, 1) below the diagonal
(Muirhead 1982, theorem 3.2.14). A rotation of X's rows changes Q and not A, so given A, Q is uniform on the Stiefel
manifold: (v, A) may be drawn alone, and the rows follow from them with an independent Q = Z chol(Z'Z)^-T of standard
normals Z, E = Q (L A)'. With N - J < p1 the scatter is singular, and X itself is drawn.

Random numbers are addressed: stream 0 of a replicate holds the normals of v, then those of A, then its chi-squares;
stream 1 holds Z. Each replicate draws its own, and everything after that is elementwise or a stacked product of small
matrices, so that no bit of a replicate depends on the others of its batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simstudy.arrays import FloatArray, cholesky, inverse
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics, from_cluster_means
from simstudy.population.population import Population

STATISTICS, ROWS = 0, 1
"""Streams of a replicate: what every drawing function uses, and what raw rows need beyond it."""


def generator(seed: int, key: str, replicate: int, stream: int) -> np.random.Generator:
    """The random numbers of one stream of one replicate.

    Philox4x64 (Salmon et al. 2011) under a 128-bit key from SHA-256 of (seed, key), with the counter starting at
    (0, 0, replicate, stream). A stream would have to use up 2^128 blocks to run into the next one, so streams of one
    (seed, key) never overlap. Nothing is seeded in sequence: any replicate can be made alone, in any order.

    Parameters
    ----------
    seed : int
        Of the study.
    key : str
        Of the population.
    replicate, stream : int
        From 0, below 2^64.
    """
    return np.random.Generator(np.random.Philox(key=_philox_key(seed, key), counter=[0, 0, replicate, stream]))


def _philox_key(seed: int, key: str) -> NDArray[np.uint64]:
    digest = hashlib.sha256(f"simstudy draw 1:{seed}:{key}".encode()).digest()
    return np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)


class _Streams:
    """`generator` for one replicate after another, a tenth of the price: one bit generator is moved about."""

    def __init__(self, seed: int, key: str, stream: int) -> None:
        self._bits = np.random.Philox(key=_philox_key(seed, key))
        self._state = self._bits.state
        self._counter = self._state["state"]["counter"]
        self._counter[3] = stream
        self._generator = np.random.Generator(self._bits)

    def at(self, replicate: int) -> np.random.Generator:
        """The generator, moved to the beginning of a replicate's stream."""
        self._counter[2] = replicate
        self._bits.state = self._state
        return self._generator


@dataclass(frozen=True)
class _Base:
    """What stream 0 gives.

    Attributes
    ----------
    means : (R, J, p)
        v_j.
    factor : (R, p1, r)
        Lw with Lw Lw' the pooled scatter; r = min(p1, N - J).
    """

    means: FloatArray
    factor: FloatArray

    @property
    def scatter(self) -> FloatArray:
        """Pooled within scatter (R, p1, p1)."""
        scatter: FloatArray = np.matmul(self.factor, self.factor.swapaxes(-1, -2))
        return scatter


def draw_statistics(population: Population, seed: int, replicates: Sequence[int]) -> TwoLevelStatistics:
    """Sufficient statistics of data sets, without drawing rows.

    Parameters
    ----------
    population : Population
    seed : int
        Of the study.
    replicates : sequence of int, length R
        Numbers of the replicates, from 0, in any order.

    Returns
    -------
    TwoLevelStatistics
        Without cluster-wise quantities.
    """
    base = _draw_base(population, seed, replicates)
    return _statistics(population, base, None)


def draw_cluster_statistics(population: Population, seed: int, replicates: Sequence[int]) -> TwoLevelStatistics:
    """Statistics of the same data sets with every cluster's means and scatter, which sandwich SEs need.

    The parts that `draw_statistics` gives too are the same to the last bit.
    """
    base = _draw_base(population, seed, replicates)
    contrasts = _draw_contrasts(population, seed, replicates, base)
    layout, p1 = population.layout, contrasts.shape[-1]
    parts = []
    for n, count, block in _blocks(layout, contrasts):
        if n == 1:
            parts.append(np.zeros((len(replicates), count, p1, p1)))
        else:
            parts.append(np.matmul(block.swapaxes(-1, -2), block))
    return _statistics(population, base, parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1))


def draw_sample(population: Population, seed: int, replicates: Sequence[int]) -> Sample:
    """Rows of the same data sets.

    Contrasts e (n_j - 1 rows) of a cluster become deviations by the first n_j - 1 columns of the Householder
    reflection that takes the last unit vector to (1, ..., 1)' / sqrt(n_j): orthonormal and orthogonal to 1. With s the
    sum of the contrasts, the deviations are e - s / (n_j - sqrt(n_j)), and s / sqrt(n_j) for the last row.
    """
    base = _draw_base(population, seed, replicates)
    contrasts = _draw_contrasts(population, seed, replicates, base)
    moments, layout = population.moments, population.layout
    p1, n_replicates = len(moments.level1), len(replicates)
    totals = _totals(layout, contrasts)
    rows = np.empty((n_replicates, layout.n_obs, p1))
    for (n, count, block), start in zip(_blocks(layout, contrasts), layout.starts, strict=True):
        first, clusters = layout.row_starts[start], slice(start, start + count)
        centre = base.means[:, clusters, None, :p1]
        target = rows[:, first : first + n * count].reshape(n_replicates, count, n, p1)
        if n == 1:
            target[...] = centre
            continue
        total, root = totals[:, clusters, None], np.sqrt(n)
        shift = centre - total / (n - root)
        for k in range(p1):  # a variable at a time: long inner loops
            np.add(block[..., k], shift[..., k], out=target[:, :, :-1, k])
        np.add(centre, total / root, out=target[:, :, -1:])
    return Sample(layout, moments.level1, moments.level2, rows, np.ascontiguousarray(base.means[..., p1:]))


def _totals(layout: ClusterLayout, contrasts: FloatArray) -> FloatArray:
    """Sum of every cluster's contrasts (R, J, p1); 0 where there are none."""
    totals = np.zeros((len(contrasts), layout.n_clusters, contrasts.shape[-1]))
    several = np.asarray(layout.sizes) > 1
    starts = layout.row_starts - np.arange(layout.n_clusters)
    if several.any():
        totals[:, several] = np.add.reduceat(contrasts, starts[several], axis=1)
    return totals


def _statistics(population: Population, base: _Base, cluster_scatter: FloatArray | None) -> TwoLevelStatistics:
    moments = population.moments
    return from_cluster_means(
        population.layout, moments.level1, moments.level2, base.scatter, base.means, cluster_scatter
    )


def _draw_base(population: Population, seed: int, replicates: Sequence[int]) -> _Base:
    """Draw v and Lw from stream 0."""
    moments, layout = population.moments, population.layout
    p, p1, n_clusters = len(moments.mu), len(moments.level1), layout.n_clusters
    df = layout.n_obs - n_clusters
    rank = min(p1, df)
    n_normals = p * n_clusters + (p1 * (p1 - 1) // 2 if rank == p1 else df * p1)
    normals = np.empty((len(replicates), n_normals))
    squares = np.empty((len(replicates), p1))
    streams = _Streams(seed, population.key, STATISTICS)
    freedom = [float(df - i) for i in range(p1)] if rank == p1 else []
    for r, replicate in enumerate(replicates):
        random = streams.at(replicate)
        random.standard_normal(out=normals[r])
        for i, nu in enumerate(freedom):
            squares[r, i] = random.chisquare(nu)
    between, within = normals[:, : p * n_clusters], normals[:, p * n_clusters :]
    if rank == p1:
        upper = np.zeros((len(replicates), p1, p1))
        upper[:, *np.tril_indices(p1, -1)] = within
        upper[:, range(p1), range(p1)] = np.sqrt(squares)
    else:
        upper = within.reshape(len(replicates), df, p1).swapaxes(-1, -2)
    factor = np.matmul(psd_factor(moments.sigma_within), upper)
    return _Base(_cluster_means(population, between.reshape(len(replicates), p, n_clusters)), factor)


def _cluster_means(population: Population, normals: FloatArray) -> FloatArray:
    """v_j (R, J, p) = mu + F_j z_j, with F_j lower triangular and z (R, p, J)."""
    moments, layout = population.moments, population.layout
    p, p1 = len(moments.mu), len(moments.level1)
    cov = np.repeat(moments.sigma_between[None], len(layout.distinct), axis=0)
    cov[:, :p1, :p1] += moments.sigma_within / layout.distinct[:, None, None]
    factor = psd_factor(cov)[layout.group].transpose(1, 2, 0)  # (p, p, J)
    means = np.empty((len(normals), layout.n_clusters, p))
    for k in range(p):
        total = factor[k, 0] * normals[:, 0]
        for m in range(1, k + 1):
            total += factor[k, m] * normals[:, m]
        means[..., k] = total + moments.mu[k]
    return means


def _draw_contrasts(population: Population, seed: int, replicates: Sequence[int], base: _Base) -> FloatArray:
    """Contrasts E (R, N - J, p1) within clusters, one cluster after another, with E'E the pooled scatter."""
    df, (p1, rank) = population.layout.n_obs - population.layout.n_clusters, base.factor.shape[-2:]
    if rank < p1:  # the factor is L X': Q is the identity
        return np.ascontiguousarray(base.factor.swapaxes(-1, -2))
    normals = np.empty((len(replicates), df, p1))
    streams = _Streams(seed, population.key, ROWS)
    for r, replicate in enumerate(replicates):
        streams.at(replicate).standard_normal(out=normals[r])
    half = _inverse_half(normals)
    if df < 10 * p1:  # with few rows Z'Z may be ill-conditioned: once more for orthogonality to the last digits
        normals = np.matmul(normals, half.swapaxes(-1, -2))
        half = _inverse_half(normals)
    contrasts: FloatArray = np.matmul(normals, np.matmul(base.factor, half).swapaxes(-1, -2))
    return contrasts


def _inverse_half(normals: FloatArray) -> FloatArray:
    """chol(Z'Z)^-1 (R, p1, p1)."""
    factor, _ = cholesky(np.matmul(normals.swapaxes(-1, -2), normals))
    return inverse(factor)[0]


def _blocks(layout: ClusterLayout, contrasts: FloatArray) -> list[tuple[int, int, FloatArray]]:
    """(n, clusters, contrasts (R, clusters, n - 1, p1)) of every distinct size."""
    found, first = [], 0
    for n, count in zip(layout.distinct.tolist(), layout.counts.tolist(), strict=True):
        last = first + (n - 1) * count
        found.append((n, count, contrasts[:, first:last].reshape(len(contrasts), count, n - 1, contrasts.shape[-1])))
        first = last
    return found


def psd_factor(a: FloatArray, tolerance: float = 1e-13) -> FloatArray:
    """Lower triangular L (..., p, p) with L L' = a, for positive semidefinite matrices.

    Cholesky's factor, where a pivot below ``tolerance`` times its diagonal element counts as zero and leaves a zero
    column. In plain arithmetic: singular matrices (no between variance, a variable without residual) are the same case,
    and there is no choice of sign or order that could differ between LAPACK libraries.
    """
    left = a.copy()
    result = np.zeros_like(a)
    scale = np.diagonal(a, axis1=-2, axis2=-1)
    for k in range(a.shape[-1]):
        pivot = left[..., k, k]
        used = pivot > tolerance * scale[..., k]
        root = np.sqrt(np.where(used, pivot, 1.0))
        column = np.where(used[..., None], left[..., k:, k] / root[..., None], 0.0)
        result[..., k:, k] = column
        left[..., k:, k:] -= column[..., :, None] * column[..., None, :]
    return result

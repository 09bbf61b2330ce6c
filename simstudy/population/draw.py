"""Random data of a population: raw rows, or directly the statistics that random-intercept models need.

The three functions give *the same data sets* in more and more detail:

- `draw_statistics`: pooled within scatter and cluster means;
- `draw_cluster_statistics`: the same numbers, and every cluster's own scatter;
- `draw_sample`: the rows. Their statistics are those numbers up to rounding.

Why this is exact (theory B10). With L L' = Sigma_W, the rows' deviations from their cluster means, in any orthonormal
contrasts, are E = X L', where X ((N - J) x p1) holds independent standard normals, independent of the cluster means
v_j ~ N(mu, Sigma_B + Sigma_W / n_j). Write X = Q A' with A the Cholesky factor of X'X. A is Bartlett's: lower
triangular, independent entries, A_ii^2 ~ chi^2 with N - J - i + 1 degrees of freedom, A_ij ~ N(0, 1) below the diagonal
(Muirhead 1982, theorem 3.2.14). A rotation of X's rows changes Q and not A, so given A, Q is uniform on the Stiefel
manifold: (v, A) may be drawn alone, and the rows follow from them with an independent Q = Z chol(Z'Z)^-T of standard
normals Z, E = Q (L A)'. With N - J < p1 the scatter is singular, and X itself is drawn.

Other populations have no such shortcut: their rows are drawn (see `rows`), and statistics are those of the rows.
Missing values are taken out of the rows of the complete data set, whose bits do not depend on them; there are no
statistics then.

Random numbers are addressed: stream 0 of a replicate holds the normals of v, then those of A, then its chi-squares;
stream 1 holds Z. Each replicate draws its own, and everything after that is elementwise or a stacked product of small
matrices, so that no bit of a replicate depends on the others of its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics, from_cluster_means
from simstudy.errors import DataError
from simstudy.linalg.psd import psd_factor
from simstudy.linalg.stacked import FloatArray, cholesky, inverse
from simstudy.population.missing import remove
from simstudy.population.population import Population
from simstudy.population.rows import draw_rows, reduce_rows
from simstudy.population.streams import ROWS, STATISTICS, Streams, generator

__all__ = ["draw_cluster_statistics", "draw_sample", "draw_statistics", "generator", "psd_factor"]


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

    Raises
    ------
    DataError
        If the population has missing values: statistics would not be sufficient. Draw rows (`draw_sample`).
    """
    _refuse_missing(population)
    if not population.normal:
        return reduce_rows(population, seed, replicates, cluster_wise=False)
    base = _draw_base(population, seed, replicates)
    return _statistics(population, base, None)


def draw_cluster_statistics(population: Population, seed: int, replicates: Sequence[int]) -> TwoLevelStatistics:
    """Statistics of the same data sets with every cluster's means and scatter, which sandwich SEs need.

    The parts that `draw_statistics` gives too are the same to the last bit.
    """
    _refuse_missing(population)
    if not population.normal:
        return reduce_rows(population, seed, replicates, cluster_wise=True)
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
    """Rows of the same data sets, with NaN for missing values."""
    draw = _normal_rows if population.normal else draw_rows
    sample = draw(population, seed, replicates)
    if not population.has_missing:
        return sample
    return remove(sample, population.missing_rates, seed, population.data_key, replicates)


def _refuse_missing(population: Population) -> None:
    if population.has_missing:
        raise DataError(
            "the population has missing values, which statistics cannot express: draw rows with draw_sample, and fit "
            "them by FIML or after listwise deletion (population.missing.listwise)"
        )


def _normal_rows(population: Population, seed: int, replicates: Sequence[int]) -> Sample:
    """Rows of complete normal data sets.

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
    streams = Streams(seed, population.data_key, STATISTICS)
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
    streams = Streams(seed, population.data_key, ROWS)
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

"""Moments of populations by cluster size, and the directions in which samples depart from them (theory B8, B10).

With J clusters, pi_s J of them of size n_s, and nbar their mean size, complete normal data have three independent
parts:

    S_W / (N - J)      mean Sigma_W,  covariance Gamma(Sigma_W) / (J (nbar - 1))
    scatter_s / J_s    mean V_s,      covariance Gamma(V_s) / (J pi_s),     V_s = Sigma_B + Sigma_W / n_s
    mean_s             mean mu,       covariance V_s / (J pi_s)

to first order in 1 / J, with Gamma(A)_ij,kl = A_ik A_jl + A_il A_jk. With L L' = A, the departures L E L' for
E = e_i e_j' + e_j e_i' (i < j) and sqrt(2) e_i e_i' are independent and of unit variance. A function g of the moments
then has J Cov(g) = sum_d w_d g_d g_d', g_d its derivatives along these directions, w_d = 1 / (nbar - 1) or 1 / pi_s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from simstudy.asymptotics.layouts import weights
from simstudy.data.layout import ClusterLayout
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.linalg.psd import psd_factor
from simstudy.linalg.stacked import FloatArray, IntArray, transpose
from simstudy.population.population import Population

WITHIN, SCATTER, MEAN = 0, 1, 2


@dataclass(frozen=True)
class Points:
    """Moments by cluster size of R data sets, as samples have them.

    Attributes
    ----------
    level1, level2 : tuple of str
    within : (R, p1, p1)
        Pooled within covariance matrix.
    means : (R, S, p)
        Mean of the cluster vectors v_j of each size.
    between : (R, S, p, p)
        Covariance matrix of v_j of each size, divisor the number of clusters.
    """

    level1: tuple[str, ...]
    level2: tuple[str, ...]
    within: FloatArray
    means: FloatArray
    between: FloatArray

    def __len__(self) -> int:
        return len(self.within)

    def statistics(self, layout: ClusterLayout) -> TwoLevelStatistics:
        """The sufficient statistics of samples with exactly these moments."""
        return TwoLevelStatistics(
            layout=layout,
            level1=self.level1,
            level2=self.level2,
            scatter_within=float(layout.n_obs - layout.n_clusters) * self.within,
            size_means=self.means,
            size_scatter=layout.counts.astype(float)[:, None, None] * self.between,
        )


def join(points: Sequence[Points]) -> Points:
    """One after another."""
    return replace(
        points[0],
        within=np.concatenate([p.within for p in points]),
        means=np.concatenate([p.means for p in points]),
        between=np.concatenate([p.between for p in points]),
    )


@dataclass(frozen=True)
class Directions:
    """Directions of unit variance for p1 level-1 of p variables and S sizes, D of them.

    Attributes
    ----------
    part : (D,)
        `WITHIN`, `SCATTER` or `MEAN`.
    size : (D,)
        Index of the cluster size; 0 for `WITHIN`.
    row, column : (D,)
        Position of the unit; equal for `MEAN`.
    weight : (D,)
        J times the variance of a sample's departure along the direction.
    """

    part: IntArray
    size: IntArray
    row: IntArray
    column: IntArray
    weight: FloatArray

    def __len__(self) -> int:
        return len(self.part)


def directions(layout: ClusterLayout, p1: int, p: int) -> Directions:
    """All directions of a layout."""
    share = weights(layout)
    spare = layout.n_obs / layout.n_clusters - 1.0
    found = [(WITHIN, 0, i, j, 1.0 / spare) for i in range(p1) for j in range(i + 1)]
    for s, part in enumerate(share.tolist()):
        found += [(SCATTER, s, i, j, 1.0 / part) for i in range(p) for j in range(i + 1)]
        found += [(MEAN, s, i, i, 1.0 / part) for i in range(p)]
    where = np.array([entry[:4] for entry in found], dtype=np.int64)
    return Directions(where[:, 0], where[:, 1], where[:, 2], where[:, 3], np.array([entry[4] for entry in found]))


@dataclass(frozen=True)
class Moments:
    """Moments of C populations that share variables and distinct cluster sizes.

    Attributes
    ----------
    layout : ClusterLayout
    level1, level2 : tuple of str
    mu : (C, p)
    within : (C, p1, p1)
    between : (C, p, p)
    """

    layout: ClusterLayout
    level1: tuple[str, ...]
    level2: tuple[str, ...]
    mu: FloatArray
    within: FloatArray
    between: FloatArray

    @classmethod
    def of(cls, layout: ClusterLayout, populations: Sequence[Population]) -> Moments:
        """Stack the moments of populations."""
        found = [population.moments for population in populations]
        return cls(
            layout,
            found[0].level1,
            found[0].level2,
            np.stack([m.mu for m in found]),
            np.stack([m.sigma_within for m in found]),
            np.stack([m.sigma_between for m in found]),
        )

    def __len__(self) -> int:
        return len(self.mu)

    def select(self, which: IntArray) -> Moments:
        """Some of the populations."""
        return replace(self, mu=self.mu[which], within=self.within[which], between=self.between[which])

    @cached_property
    def by_size(self) -> FloatArray:
        """V_s (C, S, p, p)."""
        p1, n_sizes = self.within.shape[-1], len(self.layout.distinct)
        v = np.repeat(self.between[:, None], n_sizes, axis=1)
        v[..., :p1, :p1] += self.within[:, None] / self.layout.distinct[:, None, None]
        return v

    @cached_property
    def directions(self) -> Directions:
        """Directions of departure."""
        return directions(self.layout, self.within.shape[-1], self.mu.shape[-1])

    @cached_property
    def _factors(self) -> tuple[FloatArray, FloatArray]:
        return psd_factor(self.within), psd_factor(self.by_size)

    def at(self, which: IntArray, direction: IntArray, step: FloatArray) -> Points:
        """Moments moved: R populations ``which`` by ``step`` along ``direction`` (each (R,)).

        A step of 0 is no departure, whatever the direction.
        """
        d = self.directions
        within = self.within[which].copy()
        means = np.repeat(self.mu[which][:, None], len(self.layout.distinct), axis=1)
        between = self.by_size[which].copy()
        part, size, row, column = (x[direction] for x in (d.part, d.size, d.row, d.column))
        unit = np.where(row == column, np.sqrt(0.5), 1.0) * step  # of e_i e_j' + e_j e_i', also where i = j
        factor_within, factor_between = self._factors
        here = np.flatnonzero(part == WITHIN)
        within[here] += _move(factor_within[which[here]], row[here], column[here], unit[here])
        here = np.flatnonzero(part == SCATTER)
        factor = factor_between[which[here], size[here]]
        between[here, size[here]] += _move(factor, row[here], column[here], unit[here])
        here = np.flatnonzero(part == MEAN)
        columns = factor_between[which[here], size[here], :, row[here]]
        means[here, size[here]] += step[here, None] * columns
        return Points(self.level1, self.level2, within, means, between)

    def exact(self) -> Points:
        """The populations' own moments (R = C)."""
        everything = np.arange(len(self))
        return self.at(everything, np.zeros(len(self), dtype=np.int64), np.zeros(len(self)))

    def expected(self, layout: ClusterLayout) -> Points:
        """Expected moments of samples with a layout: scatter between J_s clusters has J_s - 1 degrees of freedom."""
        points = self.exact()
        lost = 1.0 - 1.0 / layout.counts
        return Points(self.level1, self.level2, points.within, points.means, lost[:, None, None] * points.between)


def _move(factor: FloatArray, row: IntArray, column: IntArray, unit: FloatArray) -> FloatArray:
    """``unit`` times L (e_i e_j' + e_j e_i') L'."""
    at = np.arange(len(row))
    left, right = factor[at, :, row], factor[at, :, column]
    product = left[:, :, None] * right[:, None, :]
    return unit[:, None, None] * (product + transpose(product))

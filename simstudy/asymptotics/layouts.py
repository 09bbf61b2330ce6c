"""Layouts of ever more clusters with the same shares of sizes: a study's cells on their way to the limit."""

from __future__ import annotations

from math import gcd

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.errors import DataError
from simstudy.linalg.stacked import FloatArray, IntArray

MANY = 10_000_000
"""Clusters that stand for infinitely many. Divisors such as J - 1 then matter in the seventh digit, which
extrapolation from J and 2 J removes; and iterative fits, whose tolerances are in standard errors, are exact to
rounding. Much larger numbers would put rounding errors of sums above the tolerances."""


class EveryClusterError(DataError):
    """A method asked for the size of every one of very many clusters."""


def shares(layout: ClusterLayout) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Distinct sizes (S,) and the smallest whole numbers of clusters (S,) with the layout's shares."""
    counts = tuple(int(count) for count in layout.counts)
    divisor = gcd(*counts)
    return tuple(int(n) for n in layout.distinct), tuple(count // divisor for count in counts)


def weights(layout: ClusterLayout) -> FloatArray:
    """Share of the clusters that have each size (S,)."""
    result: FloatArray = layout.counts / layout.counts.sum()
    return result


class ManyClusters(ClusterLayout):
    """A layout known by its distinct sizes and their numbers alone; the size of every cluster is not written out.

    Parameters
    ----------
    distinct, counts : tuple of int, length S
        Distinct sizes, ascending, and clusters of each.
    """

    def __init__(self, distinct: tuple[int, ...], counts: tuple[int, ...]) -> None:
        self.__dict__.update(
            distinct=np.array(distinct, dtype=np.int64),
            counts=np.array(counts, dtype=np.int64),
            n_obs=sum(n * count for n, count in zip(distinct, counts, strict=True)),
        )

    @classmethod
    def grown(cls, layout: ClusterLayout, at_least: int) -> ManyClusters:
        """At least so many clusters, with the layout's shares of sizes."""
        distinct, base = shares(layout)
        times = -(-at_least // sum(base))
        return cls(distinct, tuple(times * count for count in base))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Never written out."""
        raise EveryClusterError(f"the sizes of {self.n_clusters:,} clusters are not written out")

    @property
    def n_clusters(self) -> int:
        """Number of clusters, J."""
        return int(self.counts.sum())

    @property
    def balanced(self) -> bool:
        """Whether all clusters have one size."""
        return len(self.distinct) == 1

    @property
    def anova_size(self) -> float:
        """The c of unbalanced analysis of variance."""
        n, count, total = self.distinct.astype(float), self.counts.astype(float), float(self.n_obs)
        return float((total**2 - count @ n**2) / (total * (count.sum() - 1.0)))

    @property
    def group(self) -> IntArray:
        """Never written out."""
        raise EveryClusterError(f"the groups of {self.n_clusters:,} clusters are not written out")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ManyClusters) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"ManyClusters{self._key()}"

    def _key(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return tuple(self.distinct.tolist()), tuple(self.counts.tolist())


def grown(layout: ClusterLayout, at_least: int) -> ClusterLayout:
    """At least so many clusters, with the layout's shares of sizes, every one written out."""
    many = ManyClusters.grown(layout, at_least)
    return ClusterLayout(tuple(np.repeat(many.distinct, many.counts).tolist()))

"""What models with random slopes need to know of data: `ClusterProducts` of complete ones, `PatternProducts` of others.

Likelihoods take either, as `Products`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

import numpy as np

from simstudy.data.incomplete import distinct_patterns
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray

Array = TypeVar("Array", FloatArray, IntArray)


class Products(Protocol):
    """Sums of cross-products of every cluster, over its rows of each pattern of observed variables.

    Patterns are those of any of the R data sets; of one that a data set lacks, its sums are 0.
    """

    @property
    def layout(self) -> ClusterLayout:
        """Clusters, with all their rows."""
        ...

    @property
    def clusters(self) -> FloatArray:
        """Level-2 values (R, p2, J), 0 where missing."""
        ...

    @property
    def complete(self) -> bool:
        """Whether nothing can be missing: then there is one pattern at either level."""
        ...

    @property
    def by_pattern(self) -> tuple[FloatArray, ...]:
        """O times (R, p1 + 1, p1 + 1, J): sums of (1, v_ij)(1, v_ij)', with 0 for values that are missing."""
        ...

    @property
    def patterns(self) -> BoolArray:
        """Level-1 variables that rows of each pattern have (O, p1)."""
        ...

    @property
    def z_patterns(self) -> BoolArray:
        """Level-2 variables that clusters of each pattern have (Z, p2)."""
        ...

    @property
    def z_pattern(self) -> IntArray:
        """Which of these a cluster has (R, J)."""
        ...

    def select(self, replicates: IntArray | BoolArray | slice) -> Self:
        """Some of the replicates."""
        ...

    def one_by_one(self, clusters: IntArray) -> Self:
        """Some clusters, of one size, as data sets of one cluster each, data set by data set."""
        ...


@dataclass(frozen=True)
class ClusterProducts:
    """Sums of cross-products of every cluster, for R data sets of one layout (theory D1.1).

    Clusters stand on the last axis, so that what is done for all of them runs over adjacent numbers.

    Attributes
    ----------
    layout : ClusterLayout
    level1, level2 : tuple of str
        Names of the p1 level-1 and p2 level-2 variables.
    products : (R, p1 + 1, p1 + 1, J)
        Sum over the rows of a cluster of (1, v_ij)(1, v_ij)'.
    clusters : (R, p2, J)
        Level-2 values.
    """

    layout: ClusterLayout
    level1: tuple[str, ...]
    level2: tuple[str, ...]
    products: FloatArray
    clusters: FloatArray

    @classmethod
    def of(cls, statistics: TwoLevelStatistics) -> ClusterProducts:
        """From cluster means and within scatter; variables keep their order.

        Raises
        ------
        DataError
            If the statistics have no cluster-wise quantities.
        """
        means, scatter = statistics.clusters()
        p1 = len(statistics.level1)
        sizes = np.asarray(statistics.layout.sizes, dtype=np.float64)
        values = np.ascontiguousarray(np.moveaxis(means, 1, -1))
        products = np.empty((len(means), p1 + 1, p1 + 1, len(sizes)))
        products[:, 0, 0] = sizes
        sums = values[:, :p1] * sizes
        products[:, 0, 1:] = products[:, 1:, 0] = sums
        products[:, 1:, 1:] = np.moveaxis(scatter, 1, -1) + sums[:, :, None] * values[:, None, :p1]
        clusters = np.ascontiguousarray(values[:, p1:])
        return cls(statistics.layout, statistics.level1, statistics.level2, products, clusters)

    @property
    def n_replicates(self) -> int:
        """Number of data sets, R."""
        return int(self.products.shape[0])

    @property
    def complete(self) -> bool:
        """Yes."""
        return True

    @property
    def by_pattern(self) -> tuple[FloatArray, ...]:
        """All rows are of one pattern."""
        return (self.products,)

    @property
    def patterns(self) -> BoolArray:
        """All variables (1, p1)."""
        return np.ones((1, len(self.level1)), dtype=bool)

    @property
    def z_patterns(self) -> BoolArray:
        """All variables (1, p2)."""
        return np.ones((1, len(self.level2)), dtype=bool)

    @property
    def z_pattern(self) -> IntArray:
        """The same for all clusters (R, J)."""
        return np.zeros((len(self.clusters), self.layout.n_clusters), dtype=np.int64)

    def select(self, replicates: IntArray | BoolArray | slice) -> ClusterProducts:
        """Some of the replicates."""
        return replace(self, products=self.products[replicates], clusters=self.clusters[replicates])

    def one_by_one(self, clusters: IntArray) -> ClusterProducts:
        """Some clusters, of one size, as data sets of one cluster each, data set by data set."""
        return replace(
            self,
            layout=ClusterLayout.of([self.layout.sizes[int(clusters[0])]]),
            products=_one_by_one(self.products, clusters),
            clusters=_one_by_one(self.clusters, clusters),
        )


@dataclass(frozen=True)
class PatternProducts:
    """`Products` of R data sets of one layout with values missing at either level.

    Attributes
    ----------
    layout : ClusterLayout
    level1, level2 : tuple of str
    products : (R, O, p1 + 1, p1 + 1, J)
    clusters : (R, p2, J)
    patterns : (O, p1)
        In one order, whatever the data sets: no bit of one depends on which patterns others have. Rows with no
        variable observed are in none of them.
    z_patterns : (Z, p2)
    z_pattern : (R, J)
    """

    layout: ClusterLayout
    level1: tuple[str, ...]
    level2: tuple[str, ...]
    products: FloatArray
    clusters: FloatArray
    patterns: BoolArray
    z_patterns: BoolArray
    z_pattern: IntArray

    @classmethod
    def of(cls, sample: Sample) -> PatternProducts:
        """From rows with NaN for missing values; variables keep their order."""
        seen, z_seen = ~np.isnan(sample.rows), ~np.isnan(sample.clusters)
        patterns, pattern = distinct_patterns(seen)
        z_patterns, z_pattern = distinct_patterns(z_seen)
        rows = np.where(seen, sample.rows, 0.0)
        used = np.flatnonzero(patterns.any(axis=1))
        k, n_clusters = len(sample.level1) + 1, sample.layout.n_clusters
        products = np.empty((len(rows), len(used), k, k, n_clusters))
        for place, o in enumerate(used):
            products[:, place] = _sums(rows, pattern == o, sample.layout)
        z = np.where(z_seen, sample.clusters, 0.0)
        return cls(
            sample.layout,
            sample.level1,
            sample.level2,
            products,
            np.ascontiguousarray(np.moveaxis(z, 1, -1)),
            patterns[used],
            z_patterns,
            z_pattern,
        )

    @property
    def n_replicates(self) -> int:
        """Number of data sets, R."""
        return int(self.products.shape[0])

    @property
    def complete(self) -> bool:
        """No."""
        return False

    @property
    def by_pattern(self) -> tuple[FloatArray, ...]:
        """Sums of each pattern."""
        return tuple(self.products[:, o] for o in range(len(self.patterns)))

    @property
    def n_rows(self) -> FloatArray:
        """Rows with any level-1 variable observed (R,)."""
        counts: FloatArray = self.products[:, :, 0, 0].sum(axis=(1, 2))
        return counts

    def select(self, replicates: IntArray | BoolArray | slice) -> PatternProducts:
        """Some of the replicates."""
        return replace(
            self,
            products=self.products[replicates],
            clusters=self.clusters[replicates],
            z_pattern=self.z_pattern[replicates],
        )

    def one_by_one(self, clusters: IntArray) -> PatternProducts:
        """Some clusters, of one size, as data sets of one cluster each, data set by data set."""
        return replace(
            self,
            layout=ClusterLayout.of([self.layout.sizes[int(clusters[0])]]),
            products=_one_by_one(self.products, clusters),
            clusters=_one_by_one(self.clusters, clusters),
            z_pattern=_one_by_one(self.z_pattern, clusters),
        )


def _sums(rows: FloatArray, member: BoolArray, layout: ClusterLayout) -> FloatArray:
    """Sums (R, k, k, J) of (1, v)(1, v)' over each cluster's rows in ``member`` (R, N)."""
    inside = np.concatenate([member[..., None].astype(np.float64), np.where(member[..., None], rows, 0.0)], axis=-1)
    k = inside.shape[-1]
    parts = []
    for n, count, start in zip(layout.distinct, layout.counts, layout.starts, strict=True):
        first = layout.row_starts[start]
        block = inside[:, first : first + n * count].reshape(-1, count, n, k)
        parts.append(np.matmul(block.swapaxes(-1, -2), block))
    return np.ascontiguousarray(np.moveaxis(np.concatenate(parts, axis=1), 1, -1))


def _one_by_one(values: Array, clusters: IntArray) -> Array:
    """Values (R, ..., J) of some clusters as (R n, ..., 1)."""
    moved = np.moveaxis(values[..., clusters], -1, 1)
    return np.ascontiguousarray(moved.reshape(moved.shape[0] * moved.shape[1], *moved.shape[2:])[..., None])

"""`ClusterProducts`: what models with random slopes need to know of complete data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray


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

    def select(self, replicates: IntArray | BoolArray | slice) -> ClusterProducts:
        """Some of the replicates."""
        return replace(self, products=self.products[replicates], clusters=self.clusters[replicates])

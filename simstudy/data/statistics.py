"""`TwoLevelStatistics`: what random-intercept models need to know of complete normal data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.errors import DataError
from simstudy.linalg.stacked import FloatArray, IntArray, outer


@dataclass(frozen=True)
class TwoLevelStatistics:
    """Sufficient statistics of R data sets of one layout (theory C1, B10).

    With v_j = (cluster means of the level-1 variables, level-2 variables), p = p1 + p2.

    Attributes
    ----------
    layout : ClusterLayout
    level1, level2 : tuple of str
        Names of the p1 level-1 and p2 level-2 variables.
    scatter_within : (R, p1, p1)
        Pooled within-cluster scatter, sum over rows of (y_ij - ybar_j)(y_ij - ybar_j)'; not divided.
    size_means : (R, S, p)
        Mean of v_j over the clusters of each distinct size.
    size_scatter : (R, S, p, p)
        Scatter of v_j about that mean; not divided.
    cluster_means : (R, J, p) or None
        v_j of every cluster; needed for cluster-wise scores alone.
    cluster_scatter : (R, J, p1, p1) or None
        Within scatter of every cluster; needed for cluster-wise scores alone.
    """

    layout: ClusterLayout
    level1: tuple[str, ...]
    level2: tuple[str, ...]
    scatter_within: FloatArray
    size_means: FloatArray
    size_scatter: FloatArray
    cluster_means: FloatArray | None = None
    cluster_scatter: FloatArray | None = None

    @property
    def n_replicates(self) -> int:
        """Number of data sets, R."""
        return int(self.scatter_within.shape[0])

    @property
    def variables(self) -> tuple[str, ...]:
        """Level-1 and then level-2 names: the order of v_j."""
        return self.level1 + self.level2

    @property
    def has_clusters(self) -> bool:
        """Whether cluster-wise quantities are there."""
        return self.cluster_means is not None and self.cluster_scatter is not None

    def clusters(self) -> tuple[FloatArray, FloatArray]:
        """Cluster means (R, J, p) and within scatter (R, J, p1, p1).

        Raises
        ------
        DataError
            If they were not kept.
        """
        if self.cluster_means is None or self.cluster_scatter is None:
            raise DataError("robust standard errors need cluster-wise statistics; these are sums over clusters")
        return self.cluster_means, self.cluster_scatter

    def select(self, replicates: IntArray | slice) -> TwoLevelStatistics:
        """The statistics of some of the replicates."""
        return replace(
            self,
            scatter_within=self.scatter_within[replicates],
            size_means=self.size_means[replicates],
            size_scatter=self.size_scatter[replicates],
            cluster_means=None if self.cluster_means is None else self.cluster_means[replicates],
            cluster_scatter=None if self.cluster_scatter is None else self.cluster_scatter[replicates],
        )

    def arrange(self, level1: Sequence[str], level2: Sequence[str]) -> TwoLevelStatistics:
        """The statistics of some variables, in the order given.

        Raises
        ------
        DataError
            If a variable is not there, or is measured at the other level.
        """
        level1, level2 = tuple(level1), tuple(level2)
        if (level1, level2) == (self.level1, self.level2):
            return self
        for names, have, other, here in (
            (level1, self.level1, self.level2, "1"),
            (level2, self.level2, self.level1, "2"),
        ):
            for name in names:
                if name not in have:
                    what = f"is measured at level {3 - int(here)}" if name in other else "is not in the data"
                    raise DataError(f"variable '{name}' of the model's level {here} {what}")
        first = np.array([self.level1.index(name) for name in level1], dtype=np.int64)
        second = np.array([self.level2.index(name) for name in level2], dtype=np.int64)
        order = np.concatenate([first, second + len(self.level1)])
        return replace(
            self,
            level1=level1,
            level2=level2,
            scatter_within=np.ascontiguousarray(self.scatter_within[:, first[:, None], first]),
            size_means=np.ascontiguousarray(self.size_means[..., order]),
            size_scatter=np.ascontiguousarray(self.size_scatter[..., order[:, None], order]),
            cluster_means=None if self.cluster_means is None else np.ascontiguousarray(self.cluster_means[..., order]),
            cluster_scatter=None
            if self.cluster_scatter is None
            else np.ascontiguousarray(self.cluster_scatter[..., first[:, None], first]),
        )


def from_cluster_means(
    layout: ClusterLayout,
    level1: Sequence[str],
    level2: Sequence[str],
    scatter_within: FloatArray,
    cluster_means: FloatArray,
    cluster_scatter: FloatArray | None = None,
) -> TwoLevelStatistics:
    """Statistics from pooled scatter (R, p1, p1) and cluster means v_j (R, J, p).

    Cluster-wise quantities are kept only where ``cluster_scatter`` (R, J, p1, p1) is given.
    """
    counts = layout.counts.astype(float)
    means = np.add.reduceat(cluster_means, layout.starts, axis=-2) / counts[:, None]
    centred = cluster_means - means[..., layout.group, :]
    parts = [
        np.matmul(block.swapaxes(-1, -2), block)
        for block in (centred[..., a : a + n, :] for a, n in zip(layout.starts, layout.counts, strict=True))
    ]
    return TwoLevelStatistics(
        layout=layout,
        level1=tuple(level1),
        level2=tuple(level2),
        scatter_within=scatter_within,
        size_means=means,
        size_scatter=np.stack(parts, axis=-3),
        cluster_means=cluster_means if cluster_scatter is not None else None,
        cluster_scatter=cluster_scatter,
    )


def from_moments(
    layout: ClusterLayout,
    level1: Sequence[str],
    level2: Sequence[str],
    mu: FloatArray,
    sigma_within: FloatArray,
    sigma_between: FloatArray,
) -> TwoLevelStatistics:
    """The population's moments as if they were data, with maximum-likelihood divisors.

    The pooled scatter is (N - J) Sigma_W and clusters of size n have v_j with mean ``mu`` and scatter J_n times
    Sigma_B + Sigma_W / n. A consistent maximum-likelihood method returns the population's parameters exactly.

    Parameters
    ----------
    mu : (..., p)
    sigma_within : (..., p1, p1)
    sigma_between : (..., p, p)
    """
    p1 = len(tuple(level1))
    mu = mu.reshape(-1, mu.shape[-1])
    sigma_within = sigma_within.reshape(-1, p1, p1)
    sigma_between = sigma_between.reshape(-1, *sigma_between.shape[-2:])
    cov = np.repeat(sigma_between[:, None], len(layout.distinct), axis=1)
    cov[..., :p1, :p1] += sigma_within[:, None] / layout.distinct[:, None, None]
    return TwoLevelStatistics(
        layout=layout,
        level1=tuple(level1),
        level2=tuple(level2),
        scatter_within=(layout.n_obs - layout.n_clusters) * sigma_within,
        size_means=np.repeat(mu[:, None], len(layout.distinct), axis=1),
        size_scatter=cov * layout.counts[:, None, None],
    )


def total_scatter(scatter: FloatArray, means: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pool per-size scatter: weighted mean (..., p) and scatter about it (..., p, p).

    Parameters
    ----------
    scatter : (..., S, p, p)
        Weighted scatter about each size's own mean.
    means : (..., S, p)
    weights : (S,)
        Total weight of each size.
    """
    mean = np.matmul(weights / weights.sum(), means)
    offset = means - mean[..., None, :]
    return mean, scatter.sum(axis=-3) + (weights[:, None, None] * outer(offset, offset)).sum(axis=-3)


def between_scatter(statistics: TwoLevelStatistics) -> tuple[FloatArray, FloatArray]:
    """n-weighted mean of v_j (R, p), and sum_j n_j (v_j - mean)(v_j - mean)' (R, p, p).

    With the pooled within scatter it adds up to the scatter of the N rows, level-2 variables spread to the rows.
    """
    sizes = statistics.layout.distinct.astype(float)
    weighted = statistics.size_scatter * sizes[:, None, None]
    return total_scatter(weighted, statistics.size_means, sizes * statistics.layout.counts)

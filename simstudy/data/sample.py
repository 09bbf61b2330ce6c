"""`Sample`: rows of R data sets of one layout, and how to read one from a data frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simstudy.data.incomplete import IncompleteData, incomplete_data
from simstudy.data.layout import ClusterLayout
from simstudy.data.statistics import TwoLevelStatistics, from_cluster_means
from simstudy.errors import DataError, did_you_mean
from simstudy.linalg.stacked import FloatArray, IntArray

if TYPE_CHECKING:  # pandas is slow to import, and studies and the story of the methods do without
    import pandas as pd


@dataclass(frozen=True)
class Sample:
    """Rows of R complete data sets.

    Attributes
    ----------
    layout : ClusterLayout
    level1, level2 : tuple of str
        Names of the p1 level-1 and p2 level-2 variables.
    rows : (R, N, p1)
        Level-1 variables; clusters one after another in the layout's order.
    clusters : (R, J, p2)
        Level-2 variables.
    """

    layout: ClusterLayout
    level1: tuple[str, ...]
    level2: tuple[str, ...]
    rows: FloatArray
    clusters: FloatArray

    @property
    def n_replicates(self) -> int:
        """Number of data sets, R."""
        return int(self.rows.shape[0])

    def select(self, replicates: IntArray | slice) -> Sample:
        """Some of the replicates."""
        return Sample(self.layout, self.level1, self.level2, self.rows[replicates], self.clusters[replicates])

    def statistics(self, *, cluster_wise: bool = True) -> TwoLevelStatistics:
        """Reduce rows to statistics; ``cluster_wise`` keeps every cluster's means and scatter (for robust SEs)."""
        layout = self.layout
        sizes = np.asarray(layout.sizes, dtype=float)
        means = np.add.reduceat(self.rows, layout.row_starts, axis=-2) / sizes[:, None]
        centred = self.rows - np.repeat(means, np.asarray(layout.sizes), axis=-2)
        pooled = np.matmul(centred.swapaxes(-1, -2), centred)
        scatter = self._cluster_scatter(centred) if cluster_wise else None
        both = np.concatenate([means, self.clusters], axis=-1)
        return from_cluster_means(layout, self.level1, self.level2, pooled, both, scatter)

    def arrange(self, level1: Sequence[str], level2: Sequence[str]) -> Sample:
        """Some variables, in the order given."""
        for name in (*level1, *level2):
            if name not in (self.level1 if name in level1 else self.level2):
                raise DataError(f"variable '{name}' is not in the data, or at another level")
        first = [self.level1.index(name) for name in level1]
        second = [self.level2.index(name) for name in level2]
        return Sample(
            self.layout,
            tuple(level1),
            tuple(level2),
            np.ascontiguousarray(self.rows[..., first]),
            np.ascontiguousarray(self.clusters[..., second]),
        )

    def incomplete(self) -> IncompleteData:
        """Reduce data sets, which may have missing values (NaN), to their patterns."""
        codes = np.repeat(np.arange(self.layout.n_clusters), np.asarray(self.layout.sizes)).astype(np.int64)
        return incomplete_data(self.rows, codes, self.clusters, self.level1, self.level2)

    def _cluster_scatter(self, centred: FloatArray) -> FloatArray:
        """Within scatter (R, J, p1, p1) of every cluster."""
        layout, p1 = self.layout, len(self.level1)
        parts = []
        for n, count, start in zip(layout.distinct, layout.counts, layout.starts, strict=True):
            first = layout.row_starts[start]
            block = centred[:, first : first + n * count].reshape(-1, count, n, p1)
            parts.append(np.matmul(block.swapaxes(-1, -2), block))
        return np.concatenate(parts, axis=1)

    def to_frame(self, replicate: int = 0, cluster: str = "cluster") -> pd.DataFrame:
        """One data set as a data frame with a cluster column; level-2 variables repeat in every row of a cluster."""
        import pandas as pd

        ids = np.repeat(np.arange(1, self.layout.n_clusters + 1), np.asarray(self.layout.sizes))
        columns: dict[str, object] = {cluster: ids}
        columns.update({name: self.rows[replicate, :, k] for k, name in enumerate(self.level1)})
        columns.update({name: self.clusters[replicate, ids - 1, k] for k, name in enumerate(self.level2)})
        return pd.DataFrame(columns)


def from_frame(
    data: pd.DataFrame, cluster: str, level1: Sequence[str], level2: Sequence[str] = (), *, missing: bool = False
) -> Sample:
    """Read one data set (R = 1).

    Clusters are ordered by size and then by first appearance; rows keep their order within clusters.

    Parameters
    ----------
    data : DataFrame
    cluster : str
        Column of cluster identifiers, of any type, in any order.
    level1, level2 : sequence of str
        Columns of level-1 and level-2 variables.
    missing : bool
        Whether values may be missing (NaN); a level-2 variable counts as observed where any row of its cluster has it.

    Raises
    ------
    DataError
        Missing or non-numeric columns, missing values, or a level-2 variable that varies within a cluster.
    """
    return arranged(data, cluster, level1, level2, missing=missing)[0]


def arranged(
    data: pd.DataFrame, cluster: str, level1: Sequence[str], level2: Sequence[str] = (), *, missing: bool = False
) -> tuple[Sample, IntArray]:
    """`from_frame`, and the row of the data that stands at each place of the sample (N,)."""
    import pandas as pd

    problems = []
    for name in (cluster, *level1, *level2):
        count = list(data.columns).count(name)
        if count == 0:
            problems.append(f"data: there is no column '{name}'{did_you_mean(name, map(str, data.columns))}")
        elif count > 1:
            problems.append(f"data: {count} columns are named '{name}'")
    if problems:
        raise DataError(problems)
    columns: dict[str, FloatArray] = {}
    for name in (*level1, *level2):
        column = data[name]
        if not pd.api.types.is_numeric_dtype(column):
            problems.append(f"data: column '{name}' is not numeric (it is {column.dtype})")
            continue
        columns[name] = column.to_numpy(dtype=float, na_value=np.nan)
        empty = int(np.isnan(columns[name]).sum())
        if np.isinf(columns[name]).any():
            problems.append(f"data: column '{name}' has infinite values")
        elif empty and not missing:
            problems.append(f"data: column '{name}' has {empty} missing values")
    ids = data[cluster]
    if ids.isna().any():
        problems.append(f"data: cluster column '{cluster}' has missing values")
    if problems:
        raise DataError(problems)
    order, sizes = cluster_order(ids)
    layout = ClusterLayout.of(sizes)
    rows, values = (
        np.stack([columns[name] for name in names], axis=-1)[order] if names else np.empty((len(data), 0))
        for names in (level1, level2)
    )
    first = _cluster_values(values, layout)
    repeated = np.repeat(first, np.asarray(layout.sizes), axis=0)
    varies = (repeated != values) & ~np.isnan(values)
    if varies.any():
        bad = [name for name, any_row in zip(level2, varies.any(axis=0), strict=True) if any_row]
        raise DataError([f"data: level-2 variable '{name}' varies within clusters" for name in bad])
    return Sample(layout, tuple(level1), tuple(level2), rows[None], first[None]), order


def cluster_order(ids: pd.Series[Any]) -> tuple[IntArray, IntArray]:
    """How a sample arranges rows: clusters by size and then by first appearance, rows as they come.

    Parameters
    ----------
    ids : Series (N,)
        Cluster of every row.

    Returns
    -------
    order : (N,)
        Row of the data that stands at each place of the sample.
    sizes : (J,)
        Sizes of clusters, by first appearance.
    """
    import pandas as pd

    codes, _ = pd.factorize(ids)
    sizes = np.bincount(codes)
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.argsort(sizes, kind="stable")] = np.arange(len(sizes))
    return np.argsort(rank[codes], kind="stable"), sizes


def _cluster_values(values: FloatArray, layout: ClusterLayout) -> FloatArray:
    """First observed value of every cluster (J, p2), NaN where there is none."""
    if not np.isnan(values).any():
        return values[layout.row_starts]
    codes = np.repeat(np.arange(layout.n_clusters), np.asarray(layout.sizes))
    import pandas as pd

    return pd.DataFrame(values).groupby(codes).first().to_numpy(dtype=float)

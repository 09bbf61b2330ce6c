"""`IncompleteStatistics`: what random-intercept models need to know of normal data with missing values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from simstudy.errors import DataError
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class IncompleteStatistics:
    """Sufficient statistics of one data set with values missing at either level.

    Rows are grouped by cluster and pattern of observed level-1 variables; clusters of the same make-up (rows of each
    pattern, level-2 variables observed) share everything that does not depend on the values. Rows and clusters may
    stand in any order. Axis letters: P patterns, G groups, J clusters, K kinds of cluster, Z level-2 patterns.

    Attributes
    ----------
    level1, level2 : tuple of str
        Names of the p1 level-1 and p2 level-2 variables.
    patterns : (P, p1)
        Observed level-1 variables of each pattern; rows with none observed are left out.
    cluster, pattern, count : (G,)
        Cluster, pattern and number of rows of each group; groups are ordered by cluster.
    means : (G, p1)
        Means of the observed variables, 0 elsewhere.
    scatter : (G, p1, p1)
        Scatter about them, 0 elsewhere.
    z : (J, p2)
        Level-2 values, 0 where missing.
    z_patterns : (Z, p2)
    z_pattern : (J,)
    kind : (J,)
        Index of each cluster's make-up.
    kind_rows : (K, P)
        Rows of each pattern in a cluster of that make-up.
    kind_z : (K,)
        Its level-2 pattern.
    """

    level1: tuple[str, ...]
    level2: tuple[str, ...]
    patterns: BoolArray
    cluster: IntArray
    pattern: IntArray
    count: FloatArray
    means: FloatArray
    scatter: FloatArray
    z: FloatArray
    z_patterns: BoolArray
    z_pattern: IntArray
    kind: IntArray
    kind_rows: FloatArray
    kind_z: IntArray

    @property
    def n_clusters(self) -> int:
        """Number of clusters, J, those without any observed level-1 value included."""
        return len(self.z)

    @cached_property
    def pattern_rows(self) -> FloatArray:
        """Rows of each pattern (P,)."""
        rows: FloatArray = np.matmul(self.membership, self.count)
        return rows

    @cached_property
    def pooled_scatter(self) -> FloatArray:
        """Scatter within groups, pooled by pattern (P, p1, p1)."""
        p1 = len(self.level1)
        pooled: FloatArray = np.matmul(self.membership, self.scatter.reshape(-1, p1 * p1))
        return pooled.reshape(-1, p1, p1)

    @cached_property
    def membership(self) -> FloatArray:
        """One where a group has a pattern (P, G)."""
        found: FloatArray = (np.arange(len(self.patterns))[:, None] == self.pattern).astype(np.float64)
        return found

    @cached_property
    def kind_count(self) -> FloatArray:
        """Clusters of each make-up (K,)."""
        return np.bincount(self.kind, minlength=len(self.kind_z)).astype(float)

    @cached_property
    def starts(self) -> IntArray:
        """First group of every cluster that has one, for `numpy.add.reduceat`."""
        return np.flatnonzero(np.diff(self.cluster, prepend=-1)).astype(np.int64)


def incomplete_statistics(
    values: FloatArray,
    codes: IntArray,
    z: FloatArray,
    level1: tuple[str, ...],
    level2: tuple[str, ...],
) -> IncompleteStatistics:
    """Reduce rows with NaN for missing values.

    Parameters
    ----------
    values : (N, p1)
        Level-1 variables.
    codes : (N,)
        Cluster of every row, 0 .. J - 1.
    z : (J, p2)
        Level-2 variables.

    Raises
    ------
    DataError
        If a variable has no observed value at all.
    """
    seen = ~np.isnan(values)
    z_seen = ~np.isnan(z)
    for names, observed in ((level1, seen), (level2, z_seen)):
        for k, name in enumerate(names):
            if not observed[:, k].any():
                raise DataError(f"data: every value of '{name}' is missing")
    kept = seen.any(axis=1)
    values, codes, seen = values[kept], codes[kept], seen[kept]
    patterns, pattern_of_row = np.unique(seen, axis=0, return_inverse=True)
    order = np.lexsort((pattern_of_row, codes))
    values = np.where(seen, values, 0.0)[order]
    codes, pattern_of_row = codes[order], pattern_of_row[order]
    new = np.diff(codes, prepend=-1).astype(bool) | np.diff(pattern_of_row, prepend=-1).astype(bool)
    begin = np.flatnonzero(new)
    count = np.diff(np.append(begin, len(codes))).astype(float)
    means = np.add.reduceat(values, begin, axis=0) / count[:, None]
    offset = values - np.repeat(means, count.astype(np.int64), axis=0)
    scatter = np.add.reduceat(offset[:, :, None] * offset[:, None, :], begin, axis=0)
    cluster, pattern = codes[begin].astype(np.int64), pattern_of_row[begin].astype(np.int64)
    z_patterns, z_pattern = np.unique(z_seen, axis=0, return_inverse=True)
    rows = np.zeros((len(z), len(patterns)))
    np.add.at(rows, (cluster, pattern), count)
    makeup, kind = np.unique(np.column_stack([rows, z_pattern.reshape(-1, 1)]), axis=0, return_inverse=True)
    return IncompleteStatistics(
        level1=level1,
        level2=level2,
        patterns=patterns,
        cluster=cluster,
        pattern=pattern,
        count=count,
        means=means,
        scatter=scatter,
        z=np.where(z_seen, z, 0.0),
        z_patterns=z_patterns,
        z_pattern=z_pattern.reshape(-1).astype(np.int64),
        kind=kind.reshape(-1).astype(np.int64),
        kind_rows=makeup[:, :-1].astype(np.float64),
        kind_z=makeup[:, -1].astype(np.int64),
    )


def distinct_patterns(seen: BoolArray) -> tuple[BoolArray, IntArray]:
    """Patterns (O, p) of what is observed (..., p), that of complete values first, and which one each of (...) has."""
    p = seen.shape[-1]
    if p > 62:
        found, which = np.unique(~seen.reshape(-1, p), axis=0, return_inverse=True)
        return ~found, which.reshape(seen.shape[:-1]).astype(np.int64)
    weights = 2 ** np.arange(p, dtype=np.int64)[::-1]
    codes, which = np.unique((~seen).astype(np.int64) @ weights, return_inverse=True)
    return (codes[:, None] & weights) == 0, which.reshape(seen.shape[:-1]).astype(np.int64)

"""`ClusterLayout`: how many clusters there are, and how large each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from simstudy.errors import DataError
from simstudy.linalg.stacked import IntArray


@dataclass(frozen=True)
class ClusterLayout:
    """Cluster sizes, smallest first.

    Attributes
    ----------
    sizes : tuple of int, length J
        Size n_j of every cluster, in ascending order: arrays with a cluster axis follow it.
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.sizes:
            raise DataError("cluster sizes: there is no cluster")
        if min(self.sizes) < 1:
            raise DataError(f"cluster sizes: found {min(self.sizes)}; every cluster needs at least 1 row")
        ordered = tuple(sorted(self.sizes))
        if ordered != self.sizes:
            object.__setattr__(self, "sizes", ordered)

    @classmethod
    def of(cls, sizes: Sequence[int] | IntArray) -> ClusterLayout:
        """Layout of any sequence of sizes; they are sorted."""
        return cls(tuple(sorted(int(n) for n in sizes)))

    @property
    def n_clusters(self) -> int:
        """Number of clusters, J."""
        return len(self.sizes)

    @cached_property
    def n_obs(self) -> int:
        """Number of rows, N."""
        return sum(self.sizes)

    @cached_property
    def distinct(self) -> IntArray:
        """Distinct sizes (S,), ascending."""
        return _fixed(np.unique(np.asarray(self.sizes, dtype=np.int64)))

    @cached_property
    def counts(self) -> IntArray:
        """Clusters of each distinct size (S,)."""
        return _fixed(np.unique(np.asarray(self.sizes, dtype=np.int64), return_counts=True)[1])

    @cached_property
    def starts(self) -> IntArray:
        """First cluster of each distinct size (S,)."""
        return _fixed(np.cumsum(self.counts) - self.counts)

    @cached_property
    def group(self) -> IntArray:
        """Index of every cluster's size in `distinct` (J,)."""
        return _fixed(np.repeat(np.arange(len(self.distinct)), self.counts))

    @cached_property
    def row_starts(self) -> IntArray:
        """First row of every cluster (J,)."""
        sizes = np.asarray(self.sizes, dtype=np.int64)
        return _fixed(np.cumsum(sizes) - sizes)

    @property
    def balanced(self) -> bool:
        """Whether all clusters have one size."""
        return self.sizes[0] == self.sizes[-1]

    @property
    def mean_size(self) -> float:
        """Arithmetic mean of the cluster sizes."""
        return self.n_obs / self.n_clusters

    @cached_property
    def anova_size(self) -> float:
        """The c of unbalanced analysis of variance, (N^2 - sum n_j^2) / (N (J - 1)) (theory C3)."""
        n = np.asarray(self.sizes, dtype=float)
        return float((n.sum() ** 2 - (n**2).sum()) / (n.sum() * (len(n) - 1)))


def _fixed(values: IntArray) -> IntArray:
    """Whole numbers that cannot be changed: everybody who has the layout has them."""
    found = values.astype(np.int64)
    found.setflags(write=False)
    return found

"""`WideData`: the cluster as the case, its persons as variables (the data of the wide form)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.data.sample import Sample
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class WideGroup:
    """Clusters in which the same entries are observed: one multivariate normal vector each.

    Attributes
    ----------
    variable : (M,)
        Which of the model's p variables each entry is.
    person : (M,)
        Which person of the cluster it belongs to; -1 for level-2 variables.
    values : (R, C, M)
        The entries of the C clusters of this kind.
    """

    variable: IntArray
    person: IntArray
    values: FloatArray

    @property
    def length(self) -> int:
        """M, the number of entries."""
        return len(self.variable)


@dataclass(frozen=True)
class WideData:
    """R data sets in wide form.

    Attributes
    ----------
    groups : tuple of WideGroup
        One a distinct cluster size where data are complete, up to one a cluster where values are missing.
    """

    groups: tuple[WideGroup, ...]

    def select(self, replicates: IntArray | BoolArray | slice) -> WideData:
        """Some of the replicates."""
        return WideData(tuple(WideGroup(g.variable, g.person, g.values[replicates]) for g in self.groups))


def wide_data(sample: Sample) -> WideData:
    """Write every cluster of a sample as one vector: person after person, level-2 variables last.

    Missing values (NaN) are entries that are not there. Persons are exchangeable, so those of a cluster are ordered by
    what is observed of them, and clusters that then agree share a group. Only a single data set may have missing
    values; with R of them all must be complete.
    """
    seen, z_seen = ~np.isnan(sample.rows), ~np.isnan(sample.clusters)
    assert sample.n_replicates == 1 or (seen.all() and z_seen.all()), "several data sets must be complete"
    n_first = len(sample.level1)
    kinds: dict[bytes, tuple[IntArray, IntArray, list[FloatArray]]] = {}
    for j, (n, start) in enumerate(zip(sample.layout.sizes, sample.layout.row_starts, strict=True)):
        rows, mask = sample.rows[:, start : start + n], seen[0, start : start + n]
        order = np.lexsort(mask.T)
        mask = np.append(mask[order].ravel(), z_seen[0, j])
        vector = np.concatenate([rows[:, order].reshape(len(rows), -1), sample.clusters[:, j]], axis=-1)
        variable = np.append(np.tile(np.arange(n_first), n), n_first + np.arange(len(sample.level2)))[mask]
        person = np.append(np.repeat(np.arange(n), n_first), np.full(len(sample.level2), -1))[mask]
        if len(variable):
            _, _, members = kinds.setdefault(mask.tobytes(), (variable, person, []))
            members.append(vector[:, mask])
    groups = []
    for variable, person, members in kinds.values():
        values = np.ascontiguousarray(np.stack(members, axis=1))  # in one order whatever R is: sums round alike
        groups.append(WideGroup(variable.astype(np.int64), person.astype(np.int64), values))
    return WideData(tuple(groups))

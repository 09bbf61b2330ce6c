"""`IncompleteData`: what random-intercept models need to know of normal data sets with missing values.

Rows of a cluster in which the same variables are observed count through their number, means and scatter alone. They
stand on a dense grid of clusters x patterns, so that many data sets are one array. Where the grid of a data set would
be large (many variables, nearly as many patterns as rows) its clusters are cut into blocks, each with the patterns of
its own rows: what a block costs is bounded, and the cells of the blocks are not many more than the rows.

How a data set is cut, and to what length its lists of patterns are filled up, depends on nothing but itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from simstudy.errors import DataError
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray

# Numbers that an evaluation of one data set's block may hold: 16 MB.
BLOCK = 2_000_000
# Bytes of the data sets that are evaluated at once: working arrays then stay in the cache.
CHUNK = 4_000_000


@dataclass(frozen=True)
class Block:
    """Consecutive clusters of R data sets: J clusters, P patterns at level 1, Z at level 2.

    Patterns are each data set's own; those that only fill up the list have nothing observed and no rows.

    Attributes
    ----------
    patterns : (R, P, p1)
        Observed level-1 variables of each pattern; rows with none observed are left out.
    count : (R, P, J)
        Rows of each pattern.
    means : (R, P, p1, J)
        Their means of the observed variables, 0 elsewhere.
    scatter : (R, P, p1, p1, J)
        Their scatter about them, 0 elsewhere.
    pooled : (R, P, p1, p1)
        Scatter summed over clusters.
    seen : (R, p1, J)
        Which variables have a value in each cluster.
    z_patterns : (R, Z, p2)
    z_pattern : (R, J)
    z_seen : (R, p2, J)
    z : (R, p2, J)
        Level-2 values, 0 where missing.
    """

    patterns: BoolArray
    count: FloatArray
    means: FloatArray
    scatter: FloatArray
    pooled: FloatArray
    seen: BoolArray
    z_patterns: BoolArray
    z_pattern: IntArray
    z_seen: BoolArray
    z: FloatArray

    def select(self, replicates: IntArray | slice) -> Block:
        """Some of the data sets."""
        picked: dict[str, Any] = {f.name: getattr(self, f.name)[replicates] for f in fields(self)}
        return Block(**picked)

    @property
    def numbers(self) -> int:
        """Numbers that an evaluation of one data set of the block holds, roughly."""
        _, n_patterns, p1, n_clusters = self.means.shape
        return _numbers(n_clusters, n_patterns, p1, self.z.shape[1])


@dataclass(frozen=True)
class Part:
    """Data sets of a batch whose blocks have the same shapes.

    Attributes
    ----------
    replicates : (R,)
        Their places in the batch.
    blocks : tuple of Block
        In the order of their clusters.
    """

    replicates: IntArray
    blocks: tuple[Block, ...]

    def select(self, replicates: IntArray | slice) -> Part:
        """Some of the data sets."""
        return Part(self.replicates[replicates], tuple(block.select(replicates) for block in self.blocks))


@dataclass(frozen=True)
class IncompleteData:
    """Sufficient statistics of R data sets with values missing at either level.

    Attributes
    ----------
    level1, level2 : tuple of str
        Names of the p1 level-1 and p2 level-2 variables.
    n_replicates, n_clusters : int
        R and J; clusters without any observed value count.
    n_rows : (R,)
        Rows with an observed value.
    parts : tuple of Part
        Every data set is in one of them.
    """

    level1: tuple[str, ...]
    level2: tuple[str, ...]
    n_replicates: int
    n_clusters: int
    n_rows: FloatArray
    parts: tuple[Part, ...]

    def select(self, replicates: IntArray | BoolArray | slice) -> IncompleteData:
        """Some of the data sets, in the order given."""
        wanted = np.arange(self.n_replicates)[replicates]
        parts = []
        for part in self.parts:
            place = np.full(self.n_replicates, -1)
            place[part.replicates] = np.arange(len(part.replicates))
            here = np.flatnonzero(place[wanted] >= 0)
            if len(here):
                parts.append(Part(here, part.select(place[wanted[here]]).blocks))
        return IncompleteData(self.level1, self.level2, len(wanted), self.n_clusters, self.n_rows[wanted], tuple(parts))

    def chunks(self) -> Iterator[Part]:
        """Parts of at most about `CHUNK` bytes, one data set at least."""
        for part in self.parts:
            size = max(1, CHUNK // (8 * max(block.numbers for block in part.blocks)))
            for first in range(0, len(part.replicates), size):
                yield part.select(slice(first, first + size))


def incomplete_data(
    values: FloatArray, codes: IntArray, z: FloatArray, level1: tuple[str, ...], level2: tuple[str, ...]
) -> IncompleteData:
    """Reduce rows with NaN for missing values.

    Parameters
    ----------
    values : (R, N, p1)
        Level-1 variables.
    codes : (N,)
        Cluster of every row, 0 .. J - 1, in any order.
    z : (R, J, p2)
        Level-2 variables.

    Raises
    ------
    DataError
        If a variable of a data set has no observed value at all.
    """
    seen, z_seen = ~np.isnan(values), ~np.isnan(z)
    for names, observed in ((level1, seen), (level2, z_seen)):
        for k, name in enumerate(names):
            if not observed[..., k].any(axis=-1).all():
                raise DataError(f"data: every value of '{name}' is missing")
    if (np.diff(codes) < 0).any():
        order = np.argsort(codes, kind="stable")
        values, codes, seen = values[:, order], codes[order], seen[:, order]
    n_clusters = z.shape[1]
    rows = _Rows(np.where(seen, values, 0.0), codes, seen, np.where(z_seen, z, 0.0), z_seen)
    parts = tuple(
        Part(np.array(members), tuple(rows.block(np.array(members), *shape) for shape in shapes))
        for shapes, members in rows.plan(n_clusters).items()
    )
    n_rows = seen.any(axis=-1).sum(axis=-1).astype(np.float64)
    return IncompleteData(level1, level2, len(values), n_clusters, n_rows, parts)


Shape = tuple[int, int, int, int]
"""First cluster, the one behind the last, patterns, level-2 patterns."""


class _Rows:
    """Rows in the order of their clusters, on their way to blocks."""

    def __init__(self, values: FloatArray, codes: IntArray, seen: BoolArray, z: FloatArray, z_seen: BoolArray) -> None:
        self.values, self.codes, self.seen, self.z, self.z_seen = values, codes, seen, z, z_seen
        self.pattern, self.z_code = _pattern_codes(seen), _pattern_codes(z_seen)
        self.found: dict[tuple[int, int], tuple[IntArray, IntArray]] = {}

    def plan(self, n_clusters: int) -> dict[tuple[Shape, ...], list[int]]:
        """Data sets by the shapes of their blocks: halves of what would be too large, down to one cluster."""
        p1, p2 = self.values.shape[-1], self.z.shape[-1]
        shapes: list[list[Shape]] = [[] for _ in self.values]
        pending = [(0, n_clusters, list(range(len(self.values))))]
        while pending:
            first, end, members = pending.pop()
            at = np.searchsorted(self.codes, [first, end])
            index = _ranks(self.pattern[:, at[0] : at[1]], keep_empty=False)
            z_index = _ranks(self.z_code[:, first:end], keep_empty=True)
            self.found[first, end] = index, z_index
            n_patterns, n_z = (np.max(found, axis=1, initial=0) + 1 for found in (index, z_index))
            large = []
            for r in members:
                p, z = _filled_up(int(n_patterns[r])), _filled_up(int(n_z[r]))
                if end - first > 1 and _numbers(end - first, p, p1, p2) > BLOCK:
                    large.append(r)
                else:
                    shapes[r].append((first, end, p, z))
            if large:
                middle = (first + end) // 2
                pending += [(middle, end, large), (first, middle, large)]  # the first half is taken first
        alike: dict[tuple[Shape, ...], list[int]] = {}
        for r, found in enumerate(shapes):
            alike.setdefault(tuple(found), []).append(r)
        return alike

    def block(self, members: IntArray, first: int, end: int, n_patterns: int, n_z: int) -> Block:
        """Clusters ``first`` to ``end`` of some data sets."""
        start, stop = np.searchsorted(self.codes, [first, end])
        index, z_index = (found[members] for found in self.found[first, end])
        n, n_clusters, p1, p2 = len(members), end - first, self.values.shape[-1], self.z.shape[-1]
        seen, values = self.seen[members, start:stop], self.values[members, start:stop]
        r, row = np.nonzero(index >= 0)
        pattern = index[r, row]
        cell = (r * n_patterns + pattern) * n_clusters + (self.codes[start:stop] - first)[row]
        patterns = np.zeros((n, n_patterns, p1), dtype=bool)
        patterns[r, pattern] = seen[r, row]
        shape = (n, n_patterns, n_clusters)

        def total(weights: FloatArray | None) -> FloatArray:
            found: FloatArray = np.bincount(cell, weights, minlength=n * n_patterns * n_clusters).astype(np.float64)
            return found.reshape(shape)

        count = total(None)
        means, scatter = np.zeros((n, n_patterns, p1, n_clusters)), np.zeros((n, n_patterns, p1, p1, n_clusters))
        offset = []
        for k in range(p1):
            x = values[r, row, k]
            mean = total(x) / np.maximum(count, 1.0)
            means[:, :, k] = mean
            offset.append(x - mean.ravel()[cell])
            for m in range(k + 1):
                scatter[:, :, k, m] = scatter[:, :, m, k] = total(offset[k] * offset[m])
        z_patterns = np.zeros((n, n_z, p2), dtype=bool)
        z_patterns[np.arange(n)[:, None], z_index] = self.z_seen[members, first:end]
        return Block(
            patterns=patterns,
            count=count,
            means=means,
            scatter=scatter,
            pooled=scatter.sum(axis=-1),
            seen=np.matmul(patterns.swapaxes(1, 2).astype(np.float64), count) > 0,
            z_patterns=z_patterns,
            z_pattern=z_index,
            z_seen=np.ascontiguousarray(self.z_seen[members, first:end].swapaxes(1, 2)),
            z=np.ascontiguousarray(self.z[members, first:end].swapaxes(1, 2)),
        )


def _numbers(n_clusters: int, n_patterns: int, p1: int, p2: int) -> int:
    """Numbers held while one data set's block is evaluated, for a model with all within moments free."""
    half = p1 * (p1 + 1) // 2
    by_cluster = n_patterns * p1 * (p1 + 3) + 3 * half * p1 * p1 + 8 * (p1 + p2) ** 2
    return n_clusters * by_cluster + 2 * n_patterns * half * p1 * p1


def _filled_up(n: int) -> int:
    """Length to which a list of n patterns is filled up, a quarter more at most, so that data sets are alike."""
    step = 1 << max(0, n.bit_length() - 3)
    return -(-n // step) * step


def _pattern_codes(seen: BoolArray) -> IntArray:
    """A number for every row (R, N), that is the same for the same variables seen (R, N, p), and 0 for none."""
    codes = np.zeros(seen.shape[:-1], dtype=np.int64)
    for first in range(0, seen.shape[-1], 30):
        if first:  # what came before, made small: the order stays
            codes = np.unique(codes, return_inverse=True)[1].reshape(codes.shape) + (codes.min() > 0)
        word = seen[..., first : first + 30]
        codes = (codes << word.shape[-1]) + np.matmul(word.astype(np.float64), 2.0 ** np.arange(word.shape[-1])).astype(
            np.int64
        )
    return codes


def _ranks(codes: IntArray, *, keep_empty: bool) -> IntArray:
    """Rank of every code among the different ones of its data set (R, N); -1 for code 0 if it is not kept."""
    n = len(codes)
    if codes.size and codes.max() > 2 * codes.size:
        values, place = np.unique(codes, return_inverse=True)
        place = place.reshape(codes.shape)
    else:
        values, place = np.arange(codes.max(initial=0) + 1), codes
    own = np.arange(n)[:, None] * len(values) + place
    present = np.bincount(own.ravel(), minlength=n * len(values)).reshape(n, -1) > 0
    if not keep_empty:
        present[:, values == 0] = False
    rank = np.cumsum(present, axis=1) - 1
    found: IntArray = rank.ravel()[own].astype(np.int64)
    return found if keep_empty else np.where(codes == 0, -1, found)


def distinct_patterns(seen: BoolArray) -> tuple[BoolArray, IntArray]:
    """Patterns (O, p) of what is observed (..., p), that of complete values first, and which one each of (...) has."""
    p = seen.shape[-1]
    if p > 62:
        found, which = np.unique(~seen.reshape(-1, p), axis=0, return_inverse=True)
        return ~found, which.reshape(seen.shape[:-1]).astype(np.int64)
    weights = 2 ** np.arange(p, dtype=np.int64)[::-1]
    codes, which = np.unique((~seen).astype(np.int64) @ weights, return_inverse=True)
    return (codes[:, None] & weights) == 0, which.reshape(seen.shape[:-1]).astype(np.int64)

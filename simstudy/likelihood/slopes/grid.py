"""Nodes of the trapezoidal rule over slopes, the same for all clusters of a replicate.

The rule's error vanishes faster than any power of the step for integrands that are analytic and vanish at both ends
(Trefethen & Weideman 2014, SIAM Review 56): halving the step squares it, and every other node is the rule of twice the
step, which measures it. That all clusters share nodes is what makes it cheap: what depends on the slopes alone is
computed once a node, not once a cluster and node.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, eigh

MOST = {1: 4001, 2: 16_641, 3: 42_875}
"""Nodes a replicate, by dimension."""
LEAST = 0.3
"""Least information about a slope in units of its variance: the prior has 1, and the rest may take some of it away."""


@dataclass(frozen=True)
class Box:
    """Where nodes stand, a replicate: from ``low`` to ``high`` (R, d), about ``step`` (R, d) apart."""

    low: FloatArray
    high: FloatArray
    step: FloatArray

    @property
    def dimension(self) -> int:
        """Number of slopes, d."""
        return int(self.low.shape[1])

    @property
    def counts(self) -> IntArray:
        """Nodes a dimension (R, d), odd."""
        with np.errstate(all="ignore"):
            wide = (self.high - self.low) / self.step
            good = np.isfinite(wide) & (wide < 1e9)
        found = 2 * np.ceil(np.where(good, wide, 2.0) / 2.0).astype(np.int64) + 1
        total = found.prod(axis=1, dtype=np.float64)
        shrink = np.minimum(1.0, (MOST[self.dimension] / total) ** (1.0 / self.dimension))[:, None]
        fewer = 2 * np.floor(found * shrink / 2.0).astype(np.int64) - 1
        return np.asarray(np.maximum(np.where(shrink < 1.0, fewer, found), 3))

    def take(self, rows: IntArray) -> Box:
        """Some replicates."""
        return Box(self.low[rows], self.high[rows], self.step[rows])


@dataclass(frozen=True)
class Grid:
    """Nodes of all replicates, one after another.

    Attributes
    ----------
    replicate : (T,)
    nodes : (T, d)
    starts : (R,)
        The first node of every replicate.
    log_cell : (R,)
        Log volume that a node stands for.
    coarse, face : (T,)
        Whether a node is one of the rule of twice the step, and whether it stands at an end.
    """

    replicate: IntArray
    nodes: FloatArray
    starts: IntArray
    log_cell: FloatArray
    coarse: BoolArray
    face: BoolArray

    @property
    def n_nodes(self) -> IntArray:
        """Nodes a replicate (R,)."""
        return np.diff(np.append(self.starts, len(self.nodes)))

    @classmethod
    def of(cls, box: Box, counts: IntArray) -> Grid:
        """The product rule of ``counts`` (R, d) nodes in a box."""
        nodes, coarse, face, cells = [], [], [], []
        good = np.isfinite(box.low) & np.isfinite(box.high) & (box.high > box.low)
        low, high = np.where(good, box.low, -1.0), np.where(good, box.high, 1.0)
        for r, count in enumerate(counts.tolist()):
            axes = [np.linspace(a, b, n) for a, b, n in zip(low[r], high[r], count, strict=True)]
            index = [np.arange(n) for n in count]
            at = [x.ravel() for x in np.meshgrid(*index, indexing="ij")]
            nodes.append(np.stack([axis[i] for axis, i in zip(axes, at, strict=True)], axis=-1))
            coarse.append(np.logical_and.reduce([i % 2 == 0 for i in at]))
            ends = [(i == 0) | (i == n - 1) for i, n in zip(at, count, strict=True)]
            face.append(np.logical_or.reduce(ends))
            cells.append(sum(np.log(axis[1] - axis[0]) for axis in axes))
        sizes = np.array([len(x) for x in nodes], dtype=np.int64)
        replicate = np.repeat(np.arange(len(sizes)), sizes)
        starts = np.cumsum(sizes) - sizes
        return cls(
            replicate, np.concatenate(nodes), starts, np.array(cells), np.concatenate(coarse), np.concatenate(face)
        )


def sum_exp(values: FloatArray, starts: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Log of sums (R, J) of exp(values) (T, J) over the nodes of every replicate; their largest; the terms (T, J)."""
    top = np.maximum.reduceat(values, starts, axis=0)
    shares = np.exp(values - np.repeat(top, np.diff(np.append(starts, len(values))), axis=0))
    total = np.add.reduceat(shares, starts, axis=0)
    return np.log(total) + top, total, shares


def quadratic(values: FloatArray, axes: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    """Places and widths of peaks of log densities, from the nodes about their largest values.

    Parameters
    ----------
    values : (R, n, ..., n, J)
        Log densities on a product grid.
    axes : (R, d, n)
        Its nodes.

    Returns
    -------
    place : (R, J, d)
    spread, alone : (R, J, d)
        Standard deviations, and those given the other dimensions, from minus second differences whose eigenvalues are
        at least `LEAST`.
    at_end : (R, d, 2)
        Whether the largest value of any cluster stands at the lower or upper end of an axis.
    """
    n_rep, d, n = axes.shape
    j = values.shape[-1]
    flat = np.moveaxis(values.reshape(n_rep, -1, j), 1, -1)  # (R, J, n^d)
    at = np.stack(np.unravel_index(flat.argmax(axis=-1), (n,) * d), axis=-1)  # (R, J, d)
    at_end = np.stack([(at == 0).any(axis=1), (at == n - 1).any(axis=1)], axis=-1)
    at = np.clip(at, 1, n - 2)
    strides = np.array([n ** (d - 1 - i) for i in range(d)])

    def value(*moves: tuple[int, int]) -> FloatArray:
        shift = sum(sign * strides[i] for i, sign in moves)
        place = (at * strides).sum(axis=-1) + shift
        found: FloatArray = np.take_along_axis(flat, place[..., None], axis=-1)[..., 0]
        return found

    h = axes[:, :, 1] - axes[:, :, 0]
    middle = value()
    slope, information = np.zeros((n_rep, j, d)), np.zeros((n_rep, j, d, d))
    for i in range(d):
        up, down = value((i, 1)), value((i, -1))
        slope[..., i] = (up - down) / (2.0 * h[:, None, i])
        information[..., i, i] = (2.0 * middle - up - down) / h[:, None, i] ** 2
        for k in range(i):
            four = value((i, 1), (k, 1)) + value((i, -1), (k, -1)) - value((i, 1), (k, -1)) - value((i, -1), (k, 1))
            information[..., i, k] = information[..., k, i] = -four / (4.0 * h[:, None, i] * h[:, None, k])
    centre = np.take_along_axis(np.repeat(axes[:, None], j, axis=1), at[..., None], axis=-1)[..., 0]
    roots, vectors, _ = eigh(np.nan_to_num(information))
    roots, turned = np.maximum(roots, LEAST)[..., None], vectors.swapaxes(-1, -2)
    move = np.matmul(vectors, np.matmul(turned, slope[..., None]) / roots)[..., 0]
    place = centre + np.clip(move, -h[:, None], h[:, None])
    squares = vectors**2
    spread, alone = (np.matmul(squares, x)[..., 0] for x in (1.0 / roots, roots))
    return place, np.sqrt(spread), 1.0 / np.sqrt(alone), at_end

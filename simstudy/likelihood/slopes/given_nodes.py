"""Sums over nodes of the slopes that are integrated over: where the nodes stand, and how many they are.

A first look at a coarse grid tells where each cluster's integrand has its peak and how wide that is. Nodes reach some
standard deviations beyond all peaks, about one standard deviation of the narrowest apart. The rule of twice the step
then measures the error, and the rule is refined until that is small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from simstudy.data.products import Products
from simstudy.likelihood.slopes.given_chain import GivenChain, GivenPieces, Prior
from simstudy.likelihood.slopes.grid import Box, Grid, quadratic, sum_exp
from simstudy.likelihood.slopes.kernel import Integral, Points, integrate
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, matvec

AT_ONCE = 10_000
"""Clusters times nodes that are worked on together."""
STEP = 0.9
"""Step, in units of the smallest standard deviation of a slope given a cluster's data."""
REACH = 6.5
"""Standard deviations that nodes extend to, beyond the posterior means of all clusters."""
PRIOR, PRIOR_STEP, PRIOR_REACH = 0.95, 0.65, 8.5
"""Step and reach where data tell so little of a slope that its standard deviation given them is that share of the one
before: its variance may be next to nothing, and the score, of the order 1 / variance, loses as many digits."""
PILOT = {1: 15, 2: 9, 3: 7}
"""Nodes a dimension of the first look."""
PILOT_REACH = 6.0
ROUNDS = 8
SQUARES, TAILS = 1e-6, 1e-8
"""Largest sum over clusters of the squared change that twice the step makes, and of the weight of nodes at ends."""
NEGLIGIBLE = 1e-17
"""Nodes with smaller posterior weights in all clusters add nothing to derivatives."""


@dataclass(frozen=True)
class Integrated:
    """The integral at one parameter vector a replicate.

    Attributes
    ----------
    grid : Grid
    params : (T, q + d)
        Parameters and slopes of every node.
    prior : Prior
        Of every node.
    values, weights : (T, J)
        Log of a node's term; posterior weights.
    loglik : (R, J)
    coarse : (R, J)
        By the rule of twice the step.
    ok : (R,)
    """

    grid: Grid
    params: FloatArray
    prior: Prior
    weights: FloatArray
    loglik: FloatArray
    coarse: FloatArray
    ok: BoolArray

    def kept(self) -> tuple[IntArray, IntArray]:
        """Nodes that weigh anything for any cluster, and where each replicate's start among them."""
        heavy: BoolArray = np.asarray(~(self.weights <= NEGLIGIBLE).all(axis=1))
        heavy[self.grid.starts] = True
        rows = np.flatnonzero(heavy).astype(np.int64)
        count = np.bincount(self.grid.replicate[rows], minlength=len(self.grid.starts))
        return rows, np.cumsum(count) - count


class NodeSums:
    """The integral over given slopes of clusters that share their nodes.

    Parameters
    ----------
    nodes : int or None
        Nodes a dimension; by default as many as the error asks for.
    halvings : int
        How often the step is halved beyond that.
    """

    def __init__(self, chain: GivenChain, nodes: int | None, halvings: int) -> None:
        self.chain, self.d = chain, chain.d
        self.nodes, self.halvings = nodes, halvings

    def _points(self, data: Products, offset: FloatArray, replicate: IntArray, nodes: FloatArray) -> Points:
        """The data of all clusters at every node."""
        e = nodes[:, :, None] - np.take(offset, replicate, axis=0)
        products = tuple(np.take(one, replicate, axis=0) for one in data.by_pattern)
        z = np.concatenate([np.take(data.clusters, replicate, axis=0), e], axis=1)
        seen = np.ones((len(data.z_patterns), self.d), dtype=bool)
        z_patterns = np.concatenate([data.z_patterns, seen], axis=1)
        return Points(
            self.chain.place, products, data.patterns, z, z_patterns, np.take(data.z_pattern, replicate, axis=0)
        )

    def _blocks(self, n: int, clusters: int) -> Iterator[slice]:
        size = max(1, AT_ONCE // clusters)
        return (slice(first, min(first + size, n)) for first in range(0, n, size))

    def _at(self, params: FloatArray, prior: Prior, grid: Grid) -> tuple[FloatArray, Prior]:
        """Parameters with slopes, and the prior, of every node."""
        rows = prior.take(grid.replicate)
        slopes = rows.mean + matvec(rows.root, grid.nodes)
        return np.concatenate([np.take(params, grid.replicate, axis=0), slopes], axis=1), rows

    def _values(
        self, params: FloatArray, data: Products, prior: Prior, offset: FloatArray, grid: Grid
    ) -> tuple[FloatArray, BoolArray]:
        """Logs of the terms (T, J) and whether they exist (T,)."""
        whole, rows = self._at(params, prior, grid)
        values, ok = np.empty((len(whole), data.layout.n_clusters)), np.empty(len(whole), dtype=bool)
        for part in self._blocks(*values.shape):
            pieces = self.chain.at(whole[part], rows.take(np.arange(part.start, part.stop)), data.patterns)
            points = self._points(data, offset, grid.replicate[part], grid.nodes[part])
            found = integrate([one.reduced for one in pieces], points)
            values[part], ok[part] = found.loglik, found.ok
        return values + np.take(grid.log_cell, grid.replicate)[:, None], ok

    # ------------------------------------------------------------------------------------------------------------ nodes

    def _locate(self, params: FloatArray, data: Products, prior: Prior, offset: FloatArray) -> Box:
        """Where the integrands of a replicate's clusters are, and how narrow, by quadratic fits to a coarse grid."""
        n = PILOT[self.d]
        low, high = offset.min(axis=-1) - PILOT_REACH, offset.max(axis=-1) + PILOT_REACH
        box = Box(low.copy(), high.copy(), np.ones_like(low))
        active: IntArray = np.arange(len(params))
        for _ in range(ROUNDS):
            wide = Box(low[active], high[active], np.ones_like(low[active]))
            grid = Grid.of(wide, np.full((len(active), self.d), n))
            some = prior.take(active)
            values, _ = self._values(params[active], data.select(active), some, offset[active], grid)
            axes = low[active][..., None] + (high - low)[active][..., None] * np.linspace(0.0, 1.0, n)
            place, spread, alone, ends = quadratic(values.reshape(len(active), *[n] * self.d, -1), axes)
            narrow = alone.min(axis=1)
            vague = narrow > PRIOR
            reach = np.where(vague, PRIOR_REACH, REACH)[:, None]
            box.low[active] = (place - reach * spread).min(axis=1)
            box.high[active] = (place + reach * spread).max(axis=1)
            box.step[active] = np.where(vague, PRIOR_STEP, STEP) * narrow
            again = ends.any(axis=(1, 2))
            if not again.any():
                break
            width = (high - low)[active]
            low[active] -= np.where(ends[..., 0], width, 0.0)
            high[active] += np.where(ends[..., 1], width, 0.0)
            active = active[again]
        return box

    def integral(self, params: FloatArray, data: Products, prior: Prior, offset: FloatArray) -> Integrated:
        """The sums over nodes, which are refined until their errors are small."""
        box = self._locate(params, data, prior, offset)
        grid, values, fine = self._sums(params, data, prior, offset, box)
        loglik, total, shares = sum_exp(values, grid.starts)
        at, rows = self._at(params, prior, grid)
        ok = np.logical_and.reduceat(fine, grid.starts) & np.isfinite(loglik).all(axis=-1)
        weights = shares / np.repeat(total, grid.n_nodes, axis=0)
        return Integrated(grid, at, rows, weights, loglik, coarse_sum(values, grid, self.d), ok)

    def _sums(
        self, params: FloatArray, data: Products, prior: Prior, offset: FloatArray, box: Box
    ) -> tuple[Grid, FloatArray, BoolArray]:
        """Nodes, values there (T, J), whether they exist (T,); boxes that cut are widened, rough steps made finer."""
        if self.nodes is not None:
            counts = np.full((len(params), self.d), self.nodes)
            return self._sum(params, data, prior, offset, box, (counts - 1) * 2**self.halvings + 1)
        counts = box.counts
        found = self._sum(params, data, prior, offset, box, counts)
        active, whole = np.arange(len(params)), found
        for _ in range(ROUNDS):
            cut, rough = self._judge(*found[:2])
            margin = np.where(cut, 0.15, 0.0)[:, None] * (box.high - box.low)[active]
            box.low[active] -= margin
            box.high[active] += margin
            box.step[active] /= np.where(rough, 1.4, 1.0)[:, None]
            before, counts[active] = counts[active], box.take(active).counts
            active = active[cut | rough & (counts[active] != before).any(axis=1)]  # not where there are too many
            if not len(active):
                break
            some = params[active], data.select(active), prior.take(active), offset[active]
            found = self._sum(*some, box.take(active), counts[active])
        if len(found[0].starts) == len(params):
            whole = found
        if found is not whole or self.halvings:
            whole = self._sum(params, data, prior, offset, box, (counts - 1) * 2**self.halvings + 1)
        return whole

    def _sum(
        self,
        params: FloatArray,
        data: Products,
        prior: Prior,
        offset: FloatArray,
        box: Box,
        counts: IntArray,
    ) -> tuple[Grid, FloatArray, BoolArray]:
        grid = Grid.of(box, counts)
        return grid, *self._values(params, data, prior, offset, grid)

    def _judge(self, grid: Grid, values: FloatArray) -> tuple[BoolArray, BoolArray]:
        """Which replicates' nodes end too early, and which are too far apart (R,)."""
        loglik, total, shares = sum_exp(values, grid.starts)
        gap = loglik - coarse_sum(values, grid, self.d)
        at_face = np.add.reduceat(np.where(grid.face[:, None], shares, 0.0), grid.starts, axis=0) / total
        return at_face.sum(axis=-1) > TAILS, (gap**2).sum(axis=-1) > SQUARES

    def again(
        self, found: Integrated, data: Products, rows: IntArray
    ) -> Iterator[tuple[slice, Integral, tuple[GivenPieces, ...]]]:
        """The integrals given the slopes of some nodes, a few at a time."""
        offset = found.prior.take(found.grid.starts).offset(data.clusters)
        for part in self._blocks(len(rows), data.layout.n_clusters):
            some = rows[part]
            pieces = self.chain.at(found.params[some], found.prior.take(some), data.patterns)
            points = self._points(data, offset, found.grid.replicate[some], found.grid.nodes[some])
            yield part, integrate([one.reduced for one in pieces], points), pieces


def coarse_sum(values: FloatArray, grid: Grid, dimension: int) -> FloatArray:
    """Log-likelihood of clusters (R, J) by the rule of twice the step, whose nodes are among those of a grid."""
    count = np.bincount(grid.replicate[grid.coarse], minlength=len(grid.starts))
    found, *_ = sum_exp(values[grid.coarse], np.cumsum(count) - count)
    return found + dimension * float(np.log(2.0))

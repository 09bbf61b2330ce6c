"""Rows of populations that are not normal: y_ij = mu + b_j + w_ij, both parts drawn.

Stream BETWEEN of a replicate holds the normals of the cluster vectors, variable by variable, then their chi-squares;
stream WITHIN those of the deviations. Everything after that is elementwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simstudy.arrays import FloatArray, IntArray
from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.population.distributions import Shape
from simstudy.population.population import Population
from simstudy.population.streams import BETWEEN, WITHIN, Streams

AT_ONCE = 1_000_000
"""Values of rows that are drawn before they are reduced."""


def draw_rows(population: Population, seed: int, replicates: Sequence[int]) -> Sample:
    """Rows of complete data sets of any distribution; see `draw.draw_sample`."""
    moments, layout = population.moments, population.layout
    p1, sizes = len(moments.level1), np.asarray(layout.sizes, dtype=np.int64)
    within, between = population.shapes
    streams = [Streams(seed, population.data_key, stream) for stream in (BETWEEN, WITHIN)]
    clusters = _deviations(between, streams[0], replicates, layout.n_clusters, None)
    clusters += moments.mu[:, None]
    rows = _deviations(within, streams[1], replicates, layout.n_obs, sizes)
    rows += np.repeat(clusters[:, :p1], sizes, axis=-1)
    return Sample(layout, moments.level1, moments.level2, _last(rows), _last(clusters[:, p1:]))


def reduce_rows(
    population: Population, seed: int, replicates: Sequence[int], *, cluster_wise: bool
) -> TwoLevelStatistics:
    """Statistics of these rows, a few data sets at a time: rows need a hundred times the memory."""
    size = max(1, AT_ONCE // (population.layout.n_obs * len(population.moments.level1)))
    parts = [
        draw_rows(population, seed, replicates[first : first + size]).statistics(cluster_wise=cluster_wise)
        for first in range(0, len(replicates), size)
    ] or [draw_rows(population, seed, replicates).statistics(cluster_wise=cluster_wise)]
    if len(parts) == 1:
        return parts[0]
    names = [name for name, value in vars(parts[0]).items() if isinstance(value, np.ndarray)]
    arrays: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return replace(parts[0], **arrays)


def _last(values: FloatArray) -> FloatArray:
    """Variables to the last axis."""
    return np.ascontiguousarray(values.swapaxes(-1, -2))


def _deviations(
    shape: Shape, streams: Streams, replicates: Sequence[int], n: int, sizes: IntArray | None
) -> FloatArray:
    """Deviations (R, p, n) of n units; rows have the sizes of their clusters."""
    normals = np.empty((len(replicates), len(shape.factor), n))
    groups = sizes if shape.per == "cluster" else None
    squares = np.empty((len(replicates), n if groups is None else len(groups))) if math.isfinite(shape.df) else None
    for r, replicate in enumerate(replicates):
        random = streams.at(replicate)
        random.standard_normal(out=normals[r])
        if squares is not None:
            squares[r] = random.chisquare(shape.df, squares.shape[1])
    if squares is not None and groups is not None:
        squares = np.repeat(squares, groups, axis=-1)
    return shape.apply(normals, squares)

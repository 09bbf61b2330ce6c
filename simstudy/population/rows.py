"""Rows of populations that are not normal: y_ij = mu + b_j + w_ij, both parts drawn.

With random slopes, b_j holds the random elements (intercepts, slopes, level-2 variables), w_ij what does not come
through the slopes, and products of slopes and predictors are added, in as many rounds as there are slopes: paths are
recursive.

Stream BETWEEN of a replicate holds the normals of the cluster vectors, variable by variable, then their chi-squares;
stream WITHIN those of the deviations. Everything after that is elementwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.linalg.stacked import FloatArray, IntArray
from simstudy.model.slope_structure import SlopeStructure
from simstudy.population.distributions import Shape
from simstudy.population.population import Population
from simstudy.population.streams import BETWEEN, WITHIN, Streams

AT_ONCE = 1_000_000
"""Values of rows that are drawn before they are reduced."""


def draw_rows(population: Population, seed: int, replicates: Sequence[int]) -> Sample:
    """Rows of complete data sets of any distribution; see `draw.draw_sample`."""
    if population.model.slopes:
        return _slope_rows(population, seed, replicates)
    moments, layout = population.moments, population.layout
    p1, sizes = len(moments.level1), np.asarray(layout.sizes, dtype=np.int64)
    within, between = population.shapes
    streams = [Streams(seed, population.data_key, stream) for stream in (BETWEEN, WITHIN)]
    clusters = _deviations(between, streams[0], replicates, layout.n_clusters, None)
    clusters += moments.mu[:, None]
    rows = _deviations(within, streams[1], replicates, layout.n_obs, sizes)
    rows += np.repeat(clusters[:, :p1], sizes, axis=-1)
    return Sample(layout, moments.level1, moments.level2, _last(rows), _last(clusters[:, p1:]))


def _slope_rows(population: Population, seed: int, replicates: Sequence[int]) -> Sample:
    """Rows of a population with random slopes."""
    model, layout, structure = population.model, population.layout, SlopeStructure(population.model)
    values, sizes = np.asarray(population.values), np.asarray(layout.sizes, dtype=np.int64)
    inner, outer = structure.within.implied(values), structure.between.implied(values)
    place, p1 = structure.carriers, structure.p1
    columns = inner.total[np.ix_(place, structure.outcome)]
    predictors = np.searchsorted(place, structure.predictor)
    within, between = population.shapes
    streams = [Streams(seed, population.data_key, stream) for stream in (BETWEEN, WITHIN)]
    elements = _deviations(between, streams[0], replicates, layout.n_clusters, None) + outer.mu[:, None]
    fixed = _deviations(within, streams[1], replicates, layout.n_obs, sizes)
    if structure.within.has_means:
        fixed += inner.mean[place, None]
    level = np.repeat(elements[:, : structure.r], sizes, axis=-1)
    fixed[:, structure.both] += level[:, : len(structure.both)]
    rows = fixed
    for _ in model.slopes:
        added = fixed.copy()
        for k, (predictor, shared) in enumerate(zip(predictors, structure.shared, strict=True)):
            centred = population.slopes == "latent" and shared >= 0
            x = rows[:, predictor] - level[:, shared] if centred else rows[:, predictor]
            product = level[:, len(structure.both) + k] * x
            for variable in np.flatnonzero(columns[:, k]):
                added[:, variable] += columns[variable, k] * product
        rows = added
    return Sample(layout, model.level1, model.level2, _last(rows[:, :p1]), _last(elements[:, structure.r :]))


def reduce_rows(
    population: Population, seed: int, replicates: Sequence[int], *, cluster_wise: bool
) -> TwoLevelStatistics:
    """Statistics of these rows, a few data sets at a time: rows need a hundred times the memory."""
    size = max(1, AT_ONCE // (population.layout.n_obs * len(population.model.level1)))
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

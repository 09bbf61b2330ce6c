"""Starting values from moment estimators: exact maximum likelihood for saturated balanced models (theory C2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import overload

import numpy as np

from simstudy.data.statistics import TwoLevelStatistics, total_scatter
from simstudy.estimation.latent_starts import SHARE, extended_moments
from simstudy.linalg.stacked import (
    FloatArray,
    IntArray,
    cholesky,
    columns,
    eigh,
    entries,
    inverse,
    matvec,
    outer,
    submatrix,
    transpose,
)
from simstudy.model.implied import LevelStructure, TwoLevelStructure
from simstudy.model.parameters import Parameter
from simstudy.model.representation import LevelMatrices

# Between-to-within variance ratio that weighs clusters of different size in the starting between moments.
TYPICAL_RATIO = 0.15


class Starts(Sequence[FloatArray]):
    """Starting points (R, q), each computed when it is first asked for: the later ones are seldom needed."""

    def __init__(self, *points: Callable[[], FloatArray]) -> None:
        self._points = points
        self._found: dict[int, FloatArray] = {}

    @classmethod
    def of(cls, *points: FloatArray) -> Starts:
        """Points that are known already."""
        return cls(*(partial(np.asarray, point) for point in points))

    @overload
    def __getitem__(self, k: int) -> FloatArray: ...

    @overload
    def __getitem__(self, k: slice) -> Starts: ...

    def __getitem__(self, k: int | slice) -> FloatArray | Starts:
        """The k-th point, or some of the points, not computed yet."""
        if isinstance(k, slice):
            return Starts(*(partial(self.__getitem__, i) for i in range(len(self))[k]))
        k = range(len(self))[k]
        if k not in self._found:
            self._found[k] = self._points[k]()
        return self._found[k]

    def __len__(self) -> int:
        """How many points there are."""
        return len(self._points)

    def before(self, other: Starts) -> Starts:
        """These points, and then others."""
        return Starts(*(partial(one.__getitem__, k) for one in (self, other) for k in range(len(one))))

    def map(self, function: Callable[[FloatArray], FloatArray]) -> Starts:
        """A function of each point."""
        return Starts(*(partial(lambda k: function(self[k]), k) for k in range(len(self))))


def moment_estimates(statistics: TwoLevelStatistics) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Analysis-of-variance estimates of mu (R, p), Sigma_within (R, p1, p1), Sigma_between (R, p, p).

    Sigma_between subtracts the within noise from the weighted covariance of cluster means (divisor J, as maximum
    likelihood) and may be indefinite.
    """
    layout, p1 = statistics.layout, len(statistics.level1)
    within = statistics.scatter_within / (layout.n_obs - layout.n_clusters)
    sizes = layout.distinct.astype(float)
    weight = 1.0 / (TYPICAL_RATIO + 1.0 / sizes)
    total = weight * layout.counts
    mean, scatter = total_scatter(statistics.size_scatter * weight[:, None, None], statistics.size_means, total)
    between = scatter / total.sum()
    between[:, :p1, :p1] -= within * float((total / sizes).sum() / total.sum())
    return mean, within, between


def feasible_between(within: FloatArray, between: FloatArray, p1: int, floor: float) -> FloatArray:
    """Raise the generalised eigenvalues of Sigma_yy|z with respect to Sigma_W to at least ``floor``.

    Parameters
    ----------
    within : (R, p1, p1)
    between : (R, p, p)
    """
    link = between[:, :p1, p1:]
    conditional = between[:, :p1, :p1]
    shift = np.zeros_like(conditional)
    if between.shape[-1] > p1:
        inner, _ = inverse(between[:, p1:, p1:])
        shift = np.matmul(np.matmul(link, np.nan_to_num(inner)), transpose(link))
    factor, ok = cholesky(within)
    lower, _ = inverse(factor)
    values, vectors, _ = eigh(np.matmul(np.matmul(lower, conditional - shift), transpose(lower)))
    if (~ok | (values >= floor).all(axis=-1)).all():
        return between
    back = np.matmul(factor, vectors)
    result = between.copy()
    raised = np.matmul(back * np.maximum(values, floor)[:, None, :], transpose(back)) + shift
    low = ok & (values < floor).any(axis=-1)
    result[low, :p1, :p1] = raised[low]
    return result


def two_level_starts(structure: TwoLevelStructure, statistics: TwoLevelStatistics) -> Starts:
    """Starting points (R, q): from the moments as they are, from a positive definite Sigma_between, and crude ones.

    The first is the maximum-likelihood estimate of saturated path models on balanced data. Only models with latent
    variables have crude ones.
    """
    layout, p1 = statistics.layout, structure.p1
    mean, within, between = moment_estimates(statistics)
    floors = (None if layout.balanced else -0.7 / float(layout.distinct[-1]), 0.3 / layout.mean_size)

    def start(floor: float | None, crude: bool = False) -> FloatArray:
        raised = between if floor is None else feasible_between(within, between, p1, floor)
        return starts_from_moments(structure, mean, within, raised, crude=crude)

    points = [partial(start, floor) for floor in floors]
    if any(len(level.maps.variables) > level.n_observed for level in (structure.within, structure.between)):
        points.append(partial(start, floors[1], crude=True))
    return Starts(*points)


def starts_from_moments(
    structure: TwoLevelStructure, mean: FloatArray, within: FloatArray, between: FloatArray, *, crude: bool = False
) -> FloatArray:
    """Parameters (R, q) that reproduce unrestricted moments where the model can, and least squares where it cannot.

    Parameters
    ----------
    mean : (R, p)
    within : (R, p1, p1)
    between : (R, p, p)
    """
    sums, counts = np.zeros((len(mean), structure.q)), np.zeros(structure.q)
    at = structure.between.positions
    only = np.array([k for k in range(structure.p1) if k not in at], dtype=np.int64)
    mean_within = np.zeros((len(mean), structure.p1))
    mean_within[:, only] = mean[:, only]
    add_level_starts(structure.within, within, mean_within, sums, counts, crude=crude)
    add_level_starts(structure.between, submatrix(between, at, at), columns(mean, at), sums, counts, crude=crude)
    start = sums / np.maximum(counts, 1.0)
    user: dict[int, float] = {}
    rows: tuple[Parameter, ...] = structure.model.table.rows
    for row in rows:
        if row.free >= 0 and not np.isnan(row.start):
            user.setdefault(row.free, row.start)
    for index, value in user.items():
        start[:, index] = value
    return start


def add_level_starts(
    level: LevelStructure,
    cov: FloatArray,
    mean: FloatArray,
    sums: FloatArray,
    counts: FloatArray,
    *,
    crude: bool = False,
) -> None:
    """Add one level's starting values to ``sums`` (R, q), and how many each parameter has to ``counts`` (q,).

    Paths are least squares on the level's covariance matrix, in which latent variables have been filled in
    (`latent_starts`); residual covariances and intercepts follow. Without latent variables they reproduce the matrix;
    with them, residual variances start no smaller than a share of the variance.

    Parameters
    ----------
    cov : (R, p_l, p_l)
    mean : (R, p_l)
    crude : bool
        Whether latent variables take crude values instead.
    """
    maps = level.maps
    k, v = maps.n_observed, len(maps.variables)
    latent = v > k
    if latent and crude:
        _crude_starts(level, cov, mean, sums, counts)
        return
    if latent:
        own = np.diagonal(cov, axis1=-2, axis2=-1)
        variances = np.maximum(own, 1e-3 * np.abs(cov).max(axis=(-2, -1))[:, None])
        cov = extended_moments(maps, cov, variances)
        mean = np.concatenate([mean, np.zeros((len(mean), v - k))], axis=-1)
    paths = np.broadcast_to(maps.base_paths, (len(cov), v, v)).copy()
    for outcome in np.unique(maps.paths.row):
        mine = maps.paths.row == outcome
        predictors = maps.paths.column[mine]
        fixed = matvec(cov, np.broadcast_to(maps.base_paths[outcome], (len(cov), v)))
        target = columns(cov[:, :, outcome] - fixed, predictors)
        inner, ok = inverse(submatrix(cov, predictors, predictors))
        slopes = np.where(ok[:, None], matvec(np.nan_to_num(inner), target), 0.0)
        paths[:, outcome, predictors] = slopes
        _accumulate(sums, maps.paths.free[mine], slopes)
    residual = np.eye(v) - paths
    psi = np.matmul(np.matmul(residual, cov), transpose(residual))
    if latent:
        psi = _proper(psi, cov, maps)
    _accumulate(sums, maps.covariances.free, entries(psi, maps.covariances.row, maps.covariances.column))
    intercepts = matvec(residual, mean)
    if latent:  # means of latent variables start at 0
        intercepts[:, k:] = 0.0
    _accumulate(sums, maps.means.free, columns(intercepts, maps.means.row))
    for group in (maps.paths, maps.covariances, maps.means):
        np.add.at(counts, group.free, 1.0)


def _accumulate(sums: FloatArray, index: IntArray, values: FloatArray) -> None:
    """Add columns (R, k) of ``values`` to the columns ``index`` (k,) of ``sums``; indices may repeat."""
    for k, place in enumerate(index):
        sums[:, place] += values[:, k]


def _proper(psi: FloatArray, cov: FloatArray, maps: LevelMatrices) -> FloatArray:
    """Residual covariances (R, v, v) with variances of at least a share of the variables', and smaller correlations."""
    at = np.arange(psi.shape[-1])
    floor = SHARE * np.diagonal(cov, axis1=-2, axis2=-1)
    fixed = maps.base_covariances[at, at]
    free = np.zeros(len(at), dtype=bool)
    free[maps.covariances.row[maps.covariances.row == maps.covariances.column]] = True
    variances = np.where(free, np.maximum(psi[:, at, at], floor), fixed)
    limit = 0.9 * np.sqrt(np.maximum(outer(variances, variances), 0.0))
    result = np.clip(psi, -limit, limit)
    result[:, at, at] = variances
    return result


def _crude_starts(
    level: LevelStructure, cov: FloatArray, mean: FloatArray, sums: FloatArray, counts: FloatArray
) -> None:
    """Loadings of 1, paths of 0, half of the variances: another place to climb from."""
    maps = level.maps
    k = maps.n_observed
    scale = np.maximum(np.diagonal(cov, axis1=-2, axis2=-1), 1e-3 * np.abs(cov).max(axis=(-2, -1))[:, None])
    latent_scale = 0.5 * scale.mean(axis=-1)
    loading = (maps.paths.column >= k) & (maps.paths.row < k)
    _accumulate(sums, maps.paths.free, np.broadcast_to(np.where(loading, 1.0, 0.0), (len(cov), len(loading))))
    diagonal = maps.covariances.row == maps.covariances.column
    values = np.zeros((len(cov), len(diagonal)))
    for i in np.flatnonzero(diagonal):
        variable = maps.covariances.row[i]
        values[:, i] = 0.5 * scale[:, variable] if variable < k else latent_scale
    _accumulate(sums, maps.covariances.free, values)
    observed = maps.means.row < k
    at = np.where(observed, maps.means.row, 0)
    _accumulate(sums, maps.means.free, np.where(observed, columns(mean, at), 0.0))
    for group in (maps.paths, maps.covariances, maps.means):
        np.add.at(counts, group.free, 1.0)

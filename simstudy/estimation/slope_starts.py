"""Starting values of models with random slopes, from moments of clusters (theory D1.3).

Slopes are pooled within clusters first; the residuals r of the pooled regression of an outcome tell what clusters
depart from that by. With the predictors p of its random slopes, S_pr,j has the mean 0 and the covariance matrix
S_pp,j T S_pp,j + sigma^2 S_pp,j, so that T and sigma^2 solve linear equations. Clusters' departures are then predicted,
and the moments of intercepts, slopes and level-2 variables give the between level's parameters as if they had been
observed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.starts import add_level_starts
from simstudy.linalg.stacked import FloatArray, IntArray, columns, eigh, inverse, matvec, submatrix, transpose
from simstudy.model.slope_structure import SlopeStructure

FLOOR = 0.05
"""Least start of a random element's variance, as a share of what its estimates have by sampling (slopes), or of the
variable's variance (intercepts): zero is a saddle point."""
CORRELATION = 0.9


def slope_starts(structure: SlopeStructure, statistics: TwoLevelStatistics, *, raw: bool) -> FloatArray:
    """Parameters (R, q).

    Parameters
    ----------
    statistics : TwoLevelStatistics
        Cluster-wise, in the model's order.
    raw : bool
        Whether slopes multiply predictors as observed: their outcomes' between parts are then intercepts at zero.
    """
    layout = statistics.layout
    means, scatter = statistics.clusters()
    within = statistics.scatter_within / (layout.n_obs - layout.n_clusters)
    slopes = _cluster_slopes(structure, within, scatter, layout.n_obs)
    only = np.setdiff1d(np.arange(structure.p1), structure.both)
    values = _intercepts(structure, slopes, within, means, only, raw=raw)
    u = np.concatenate([values[:, :, structure.both], slopes.predicted, values[:, :, structure.p1 :]], axis=-1)
    centre = u.mean(axis=1)
    places = np.arange(len(structure.both), structure.r)
    centred = u - centre[:, None]
    centre[:, places] = slopes.pooled
    cov = _between_cov(structure, centred, within, only, layout.mean_size, slopes)
    params, counts = np.zeros((len(means), structure.q)), np.zeros(structure.q)
    mean_within = _within_means(structure, means, layout.sizes, only)
    add_level_starts(structure.within, _within_cov(structure, within, slopes), mean_within, params, counts)
    add_level_starts(structure.between, cov, centre, params, counts)
    start = params / np.maximum(counts, 1.0)
    _positive_variances(structure, start, within, cov)
    for row in structure.model.table.rows:
        if row.free >= 0 and not np.isnan(row.start):
            start[:, row.free] = row.start
    return start


@dataclass(frozen=True)
class ClusterSlopes:
    """What clusters tell of their slopes.

    Attributes
    ----------
    pooled : (R, K)
    predicted : (R, J, K)
        Departures from them, shrunken.
    cov : (R, K, K)
        T, with 0 between slopes of different outcomes.
    kept : (R, K, K)
        Mean share of the departures that shrinking has left, of the same form.
    groups : tuple of int arrays
        Slopes of the same outcome.
    """

    pooled: FloatArray
    predicted: FloatArray
    cov: FloatArray
    kept: FloatArray
    groups: tuple[IntArray, ...]


def _proxy(structure: SlopeStructure, k: int) -> int:
    """Observed outcome of a slope: the first indicator where the outcome is a factor."""
    outcome = int(structure.outcome[k])
    if outcome < structure.p1:
        return outcome
    name = structure.within.maps.variables[outcome]
    row = next(row for row in structure.model.table.at("within") if row.op == "=~" and row.lhs == name)
    return structure.model.level1.index(row.rhs)


def _cluster_slopes(structure: SlopeStructure, within: FloatArray, scatter: FloatArray, n_obs: int) -> ClusterSlopes:
    model = structure.model
    n, n_clusters, k = len(within), scatter.shape[1], len(structure.predictor)
    pooled, predicted = np.zeros((n, k)), np.zeros((n, n_clusters, k))
    cov, kept = np.zeros((n, k, k)), np.zeros((n, k, k))
    groups = tuple(np.flatnonzero(structure.outcome == o).astype(np.int64) for o in np.unique(structure.outcome))
    for group in groups:
        outcome, place = _proxy(structure, int(group[0])), structure.predictor[group]
        lhs = structure.within.maps.variables[structure.outcome[group[0]]]
        causes = [
            a for a, name in enumerate(model.level1) if model.table.find("within", lhs, "~", name) and a != outcome
        ]
        at = np.array(causes, dtype=np.int64)
        inner, ok = inverse(submatrix(within, at, at))
        slopes = np.where(ok[:, None], matvec(np.nan_to_num(inner), within[:, at, outcome]), 0.0)
        pooled[:, group] = columns(slopes, np.array([causes.index(int(p)) for p in place], dtype=np.int64))
        rss = (within[:, outcome, outcome] - (slopes * within[:, at, outcome]).sum(axis=-1)) * (n_obs - n_clusters)
        s = submatrix(scatter, place, place)
        cross = columns(scatter[:, :, outcome], place) - matvec(submatrix(scatter, place, at), slopes[:, None])
        t, sigma2 = _components(s, cross, rss, n_obs)
        if len(group) == 1:
            share = s * t[:, None] / (s * t[:, None] + sigma2[:, None, None, None])
            safe = np.where(s[..., 0] > 0.0, s[..., 0], 1.0)
            predicted[:, :, group] = share[..., 0] * cross / safe
        else:
            outer = np.matmul(s, t[:, None]) + sigma2[:, None, None, None] * np.eye(len(group))
            solved = np.matmul(t[:, None], np.nan_to_num(inverse(outer)[0]))
            share = np.matmul(solved, s)
            predicted[:, :, group] = matvec(solved, cross)
        cov[:, group[:, None], group], kept[:, group[:, None], group] = t, share.mean(axis=1)
    return ClusterSlopes(pooled, predicted, cov, kept, groups)


def _components(s: FloatArray, cross: FloatArray, rss: FloatArray, n_obs: int) -> tuple[FloatArray, FloatArray]:
    """T (R, k, k), positive definite, and sigma^2 (R,) of the slopes of one outcome.

    Parameters
    ----------
    s : (R, J, k, k)
        S_pp of every cluster.
    cross : (R, J, k)
        S_pr.
    rss : (R,)
        Residual sum of squares of the pooled regression.
    """
    n, n_clusters, k = cross.shape
    trace = np.trace(s, axis1=-2, axis2=-1)
    weight = np.where(trace > 0.0, k / np.where(trace > 0.0, trace, 1.0), 0.0)[..., None, None]
    system, right = np.zeros((n, k * k + 1, k * k + 1)), np.zeros((n, k * k + 1))
    flat = s.reshape(n, n_clusters, k * k)
    pairs = np.matmul(transpose(flat * weight[..., 0]), flat).reshape(n, k, k, k, k)  # sum w s_ab s_cd
    system[:, : k * k, : k * k] = pairs.transpose(0, 1, 3, 2, 4).reshape(n, k * k, k * k)
    system[:, : k * k, -1] = (s * weight).sum(axis=1).reshape(n, k * k)
    system[:, -1, : k * k] = s.sum(axis=1).reshape(n, k * k)
    system[:, -1, -1] = n_obs - n_clusters
    right[:, : k * k] = np.matmul(transpose(cross * weight[..., 0]), cross).reshape(n, k * k)
    right[:, -1] = rss
    solution = matvec(np.nan_to_num(inverse(system)[0]), right)
    mean_square = rss / (n_obs - n_clusters)
    sigma2 = np.clip(solution[:, -1], 0.05 * mean_square, mean_square)
    t = solution[:, :-1].reshape(n, k, k)
    noise = sigma2[:, None] * n_clusters / np.diagonal(s.sum(axis=1), axis1=-2, axis2=-1)
    variance = np.maximum(np.diagonal(t, axis1=-2, axis2=-1), FLOOR * noise)
    return _proper(0.5 * (t + transpose(t)), variance), sigma2


def _proper(cov: FloatArray, variance: FloatArray) -> FloatArray:
    """A positive definite matrix with these variances, and correlations like those of ``cov``."""
    scale = np.sqrt(np.maximum(variance, 1e-300))
    corr = np.clip(cov / scale[:, :, None] / scale[:, None, :], -CORRELATION, CORRELATION)
    place = np.arange(corr.shape[-1])
    corr[:, place, place] = 1.0
    low = eigh(corr)[0][:, 0]
    corr *= np.where(low < 0.05, 0.95 / (1.0 - np.minimum(low, 0.05)), 1.0)[:, None, None]
    corr[:, place, place] = 1.0
    result: FloatArray = corr * scale[:, :, None] * scale[:, None, :]
    return result


def _intercepts(
    structure: SlopeStructure,
    slopes: ClusterSlopes,
    within: FloatArray,
    means: FloatArray,
    only: IntArray,
    *,
    raw: bool,
) -> FloatArray:
    """Cluster means (R, J, p), less what within-only variables and slopes on raw predictors contribute to them."""
    values = means.copy()
    if len(only) and len(structure.both):
        inner, ok = inverse(submatrix(within, only, only))
        link = np.matmul(within[:, structure.both[:, None], only], np.nan_to_num(inner))
        values[:, :, structure.both] -= np.matmul(values[:, :, only], transpose(link) * ok[:, None, None])
    if raw:
        for k, predictor in enumerate(structure.predictor):
            outcome = _proxy(structure, k)
            if outcome in structure.both:
                pooled = slopes.pooled[:, k, None] if predictor in structure.both else 0.0
                values[:, :, outcome] -= (slopes.predicted[:, :, k] + pooled) * means[:, :, predictor]
    return values


def _between_cov(
    structure: SlopeStructure,
    u: FloatArray,
    within: FloatArray,
    only: IntArray,
    size: float,
    slopes: ClusterSlopes,
) -> FloatArray:
    """Covariance matrix (R, f, f) of random elements and level-2 variables, made positive definite."""
    b, both = len(structure.both), structure.both
    place = np.arange(b, structure.r)
    cov = np.matmul(transpose(u), u) / u.shape[1]
    inside = submatrix(within, both, both)
    if len(only) and b:
        inner, ok = inverse(submatrix(within, only, only))
        link = within[:, both[:, None], only]
        inside = inside - np.matmul(np.matmul(link, np.nan_to_num(inner)), transpose(link)) * ok[:, None, None]
    observed = np.diagonal(cov, axis1=-2, axis2=-1).copy()
    cov[:, :b, :b] -= inside / size
    back, _ = inverse(slopes.kept + 1e-3 * np.eye(len(place)))
    back = np.nan_to_num(back)
    cov[:, place] = np.matmul(back, cov[:, place])
    cov[:, :, place] = np.matmul(cov[:, :, place], transpose(back))
    for group in slopes.groups:
        cov[:, place[group][:, None], place[group]] = submatrix(slopes.cov, group, group)
    variance = np.diagonal(cov, axis1=-2, axis2=-1).copy()
    variance[:, :b] = np.maximum(variance[:, :b], FLOOR * observed[:, :b] + 1e-10)
    return _proper(cov, variance)


def _within_cov(structure: SlopeStructure, within: FloatArray, slopes: ClusterSlopes) -> FloatArray:
    """The within covariance matrix that there would be without random slopes."""
    p1 = structure.p1
    left = within.copy()
    turn = np.broadcast_to(np.eye(p1), (len(within), p1, p1)).copy()
    for group in slopes.groups:
        outcome, place = _proxy(structure, int(group[0])), structure.predictor[group]
        moved = (submatrix(slopes.cov, group, group) * submatrix(within, place, place)).sum(axis=(-2, -1))
        left[:, outcome, outcome] = np.maximum(left[:, outcome, outcome] - moved, 0.2 * within[:, outcome, outcome])
        turn[:, outcome, place] -= slopes.pooled[:, group]
    result: FloatArray = np.matmul(np.matmul(turn, left), transpose(turn))
    return result


def _within_means(structure: SlopeStructure, means: FloatArray, sizes: tuple[int, ...], only: IntArray) -> FloatArray:
    """Means (R, p1) of variables that live within clusters only."""
    weights = np.asarray(sizes, dtype=np.float64)
    total = (means[:, :, : structure.p1] * weights[:, None]).sum(axis=1) / weights.sum()
    result: FloatArray = np.zeros_like(total)
    result[:, only] = columns(total, only)
    return result


def _positive_variances(structure: SlopeStructure, start: FloatArray, within: FloatArray, cov: FloatArray) -> None:
    """Raise (residual) variances that are not positive (in place)."""
    for level, moments in ((structure.within, within), (structure.between, cov)):
        maps = level.maps
        scale = np.diagonal(moments, axis1=-2, axis2=-1)
        for row, column, free in zip(maps.covariances.row, maps.covariances.column, maps.covariances.free, strict=True):
            if row == column:
                least = 0.05 * (scale[:, row] if row < maps.n_observed else scale.mean(axis=-1))
                start[:, free] = np.maximum(start[:, free], least)

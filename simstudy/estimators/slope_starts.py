"""Starting values of models with random slopes, from moments of clusters (THEORY D1.3).

Slopes are pooled within clusters first; what clusters depart from that by is d_j = S_xr,j / S_xx,j, with the residuals
r of the pooled regression. Its variance over clusters, S_xx,j as weights, less the sampling variance, is a consistent
estimate of the slope variance; covariances use d_j shrunken towards 0. The moments of intercepts, slopes and level-2
variables then give the between level's parameters as if they had been observed.
"""

from __future__ import annotations

import numpy as np

from simstudy.arrays import FloatArray, IntArray, columns, eigh, inverse, submatrix, transpose
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimators.starts import add_level_starts
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
    pooled, excess, shrunk, variance, noise = _slopes(structure, statistics, scatter, within)
    residual = within.copy()
    params, counts = np.zeros((len(means), structure.q)), np.zeros(structure.q)
    p1, b, r = structure.p1, len(structure.both), structure.r
    only = np.setdiff1d(np.arange(p1), structure.both)
    values = means.copy()
    _take_out(values, structure, pooled, within, only)
    for k, predictor in enumerate(structure.predictor):
        outcome = _proxy(structure, k)
        drop = within[:, predictor, predictor] * np.maximum(variance[:, k], 0.0)
        residual[:, outcome, outcome] = np.maximum(
            residual[:, outcome, outcome] - drop, 0.2 * within[:, outcome, outcome]
        )
        if raw and outcome in structure.both:
            moved = shrunk[:, :, k] + (pooled[:, k, None] if predictor in structure.both else 0.0)
            values[:, :, outcome] -= moved * means[:, :, predictor]
    u = np.concatenate([values[:, :, structure.both], pooled[:, None] + shrunk, values[:, :, p1:]], axis=-1)
    centre = u.mean(axis=1)
    centre[:, b:r] = pooled
    cov = _between_cov(structure, u - centre[:, None], within, only, layout.mean_size, excess, variance, noise)
    free_of_slopes = _without_slope_paths(structure, residual, pooled)
    add_level_starts(
        structure.within, free_of_slopes, _within_means(structure, means, layout.sizes, only), params, counts
    )
    add_level_starts(structure.between, cov, centre, params, counts)
    start = params / np.maximum(counts, 1.0)
    _positive_variances(structure, start, within, cov)
    for row in structure.model.table.rows:
        if row.free >= 0 and not np.isnan(row.start):
            start[:, row.free] = row.start
    return start


def _proxy(structure: SlopeStructure, k: int) -> int:
    """Observed outcome of a slope: the first indicator where the outcome is a factor."""
    outcome = int(structure.outcome[k])
    if outcome < structure.p1:
        return outcome
    name = structure.within.maps.variables[outcome]
    row = next(row for row in structure.model.table.at("within") if row.op == "=~" and row.lhs == name)
    return structure.model.level1.index(row.rhs)


def _slopes(
    structure: SlopeStructure, statistics: TwoLevelStatistics, scatter: FloatArray, within: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Pooled slopes (R, K), clusters' departures (R, J, K) raw and shrunken, slope variances and sampling variances."""
    model, layout = structure.model, statistics.layout
    n, k = len(within), len(structure.predictor)
    pooled = np.zeros((n, k))
    excess, shrunk = np.zeros((n, layout.n_clusters, k)), np.zeros((n, layout.n_clusters, k))
    variance, noise = np.zeros((n, k)), np.zeros((n, k))
    names = {model.level1.index(name): name for name in model.level1}
    for i, predictor in enumerate(structure.predictor):
        outcome = _proxy(structure, i)
        lhs = structure.within.maps.variables[structure.outcome[i]]
        causes = [at for at, name in names.items() if model.table.find("within", lhs, "~", name) and at != outcome]
        at = np.array(causes, dtype=np.int64)
        inner, ok = inverse(submatrix(within, at, at))
        slopes = np.where(ok[:, None], np.matmul(inner, within[:, at, outcome, None])[..., 0], 0.0)
        pooled[:, i] = slopes[:, causes.index(int(predictor))]
        cross = (
            scatter[:, :, predictor, outcome] - np.matmul(scatter[:, :, predictor][..., at], slopes[..., None])[..., 0]
        )
        sxx = np.maximum(scatter[:, :, predictor, predictor], 1e-12 * within[:, predictor, predictor, None])
        total = scatter.sum(axis=1)[:, predictor, predictor]
        rss = within[:, outcome, outcome] - (slopes * within[:, at, outcome]).sum(axis=-1)
        rss = rss * (layout.n_obs - layout.n_clusters)
        explained = (cross * cross / sxx).sum(axis=1)
        df = max(layout.n_obs - 2 * layout.n_clusters, 1)
        sigma2 = np.maximum((rss - explained) / df, 0.05 * rss / (layout.n_obs - layout.n_clusters))
        noise[:, i] = sigma2 * layout.n_clusters / total
        variance[:, i] = np.maximum((explained - layout.n_clusters * sigma2) / total, FLOOR * noise[:, i])
        excess[:, :, i] = cross / sxx
        shrunk[:, :, i] = cross / (sxx + (sigma2 / variance[:, i])[:, None])
    return pooled, excess, shrunk, variance, noise


def _take_out(
    values: FloatArray, structure: SlopeStructure, pooled: FloatArray, within: FloatArray, only: IntArray
) -> None:
    """Subtract from cluster means what within-only variables contribute to them (in place)."""
    if not len(only) or not len(structure.both):
        return
    inner, ok = inverse(submatrix(within, only, only))
    slopes = np.where(ok[:, None, None], np.matmul(within[:, structure.both[:, None], only], inner), 0.0)
    values[:, :, structure.both] -= np.matmul(values[:, :, only], transpose(slopes))


def _between_cov(
    structure: SlopeStructure,
    u: FloatArray,
    within: FloatArray,
    only: IntArray,
    size: float,
    excess: FloatArray,
    variance: FloatArray,
    noise: FloatArray,
) -> FloatArray:
    """Covariance matrix (R, f, f) of random elements and level-2 variables, made positive definite."""
    b, r, both = len(structure.both), structure.r, structure.both
    cov = np.matmul(transpose(u), u) / u.shape[1]
    inside = submatrix(within, both, both)
    if len(only) and b:
        inner, ok = inverse(submatrix(within, only, only))
        link = within[:, both[:, None], only]
        inside = inside - np.where(ok[:, None, None], np.matmul(np.matmul(link, inner), transpose(link)), 0.0)
    observed = np.diagonal(cov, axis1=-2, axis2=-1).copy()
    cov[:, :b, :b] -= inside / size
    for k in range(r - b):
        keep = np.clip(variance[:, k] / (variance[:, k] + noise[:, k]), 0.05, 1.0)  # share that shrinking has left
        cov[:, b + k] /= keep[:, None]
        cov[:, :, b + k] /= keep[:, None]
        cov[:, b + k, b + k] = variance[:, k]
    diagonal = np.diagonal(cov, axis1=-2, axis2=-1).copy()
    diagonal[:, :b] = np.maximum(diagonal[:, :b], FLOOR * observed[:, :b] + 1e-10)
    scale = np.sqrt(np.maximum(diagonal, 1e-300))
    corr = cov / scale[:, :, None] / scale[:, None, :]
    corr = np.clip(corr, -CORRELATION, CORRELATION)
    f = corr.shape[-1]
    corr[:, range(f), range(f)] = 1.0
    low = eigh(corr)[0][:, 0]
    shrink = np.where(low < 0.05, 0.95 / (1.0 - np.minimum(low, 0.05)), 1.0)
    corr *= shrink[:, None, None]
    corr[:, range(f), range(f)] = 1.0
    result: FloatArray = corr * scale[:, :, None] * scale[:, None, :]
    return result


def _without_slope_paths(structure: SlopeStructure, within: FloatArray, pooled: FloatArray) -> FloatArray:
    """The within covariance matrix that there would be without the paths that are random slopes."""
    p1 = structure.p1
    turn = np.broadcast_to(np.eye(p1), (len(within), p1, p1)).copy()
    for k, predictor in enumerate(structure.predictor):
        turn[:, _proxy(structure, k), predictor] -= pooled[:, k]
    result: FloatArray = np.matmul(np.matmul(turn, within), transpose(turn))
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

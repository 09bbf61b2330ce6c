"""Least squares in every cluster: coefficients, their sampling covariances, residual variances (theory D3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, inverse_spd, matvec
from simstudy.model.slope_structure import SlopeStructure
from simstudy.model.twolevel import TwoLevelModel


@dataclass(frozen=True)
class ClusterEquation:
    """A regression that is run in every cluster.

    Attributes
    ----------
    outcome : str
    predictors : (k - 1,) of int
        Places among the level-1 variables.
    centred : (k - 1,) of bool
        Whether a predictor is taken from its cluster mean: those that stand in both blocks.
    places : (k,) of int
        Where the constant's and the predictors' coefficients stand among the random elements; -1 for a slope that the
        model has as fixed.
    fixed : (k,) of int
        The free parameter of such a slope, else -1.
    residual : int
        Free parameter of the residual variance, or -1.
    """

    outcome: str
    predictors: IntArray
    centred: BoolArray
    places: IntArray
    fixed: IntArray
    residual: int


def cluster_equations(model: TwoLevelModel) -> list[ClusterEquation] | str:
    """One equation for every level-1 variable with a between part, or the reason why there are none."""
    if not model.slopes:
        return "the model has no random slope that could be an outcome"
    if model.factors("within"):
        return "factors of the within block cannot be expressed in regressions of single clusters"
    only = [name for name in model.outcomes("within") if name not in model.both]
    if only:
        return f"'{only[0]}' has no between part: in single clusters every outcome has an intercept of its own"
    elements = SlopeStructure(model).elements
    built: list[ClusterEquation] = []
    for outcome in model.both:
        predictors, places, fixed = [], [elements.index(outcome)], [-1]
        for row in model.table.at("within"):
            if row.op != "~" or row.lhs != outcome:
                continue
            if not row.slope and row.free < 0:
                return f"'{row.path}' is fixed at {row.value:g}; slopes of single clusters are estimated freely"
            predictors.append(model.level1.index(row.rhs))
            places.append(elements.index(row.slope) if row.slope else -1)
            fixed.append(row.free)
        residual = model.table.find("within", outcome, "~~", outcome)
        at = np.array(predictors, dtype=np.int64)
        centred = np.array([model.level1[i] in model.both for i in predictors], dtype=bool)
        built.append(
            ClusterEquation(
                outcome,
                at,
                centred,
                np.array(places, dtype=np.int64),
                np.array(fixed, dtype=np.int64),
                -1 if residual is None else residual.free,
            )
        )
    own = [int(i) for e in built for i in (*e.fixed, e.residual) if i >= 0]
    if len(set(own)) < len(own):
        return "a label ties coefficients of different equations, which are fitted one by one"
    return built


def usable(equations: list[ClusterEquation], layout: ClusterLayout) -> BoolArray:
    """Clusters (J,) with more rows than every equation has coefficients."""
    most = max(len(equation.places) for equation in equations)
    return np.asarray(np.asarray(layout.sizes) > most)


@dataclass(frozen=True)
class FirstStage:
    """What the clusters' regressions give; numbers of clusters that are left out are 0.

    Attributes
    ----------
    weight : (R, J)
        1 for clusters that count, 0 for those that are too small or whose predictors do not vary.
    values : (R, J, p)
        Estimates of the random elements, and then level-2 variables.
    spread : (Q, R, J, p, p)
        Sampling covariance of each equation's coefficients, in units of its residual variance.
    sigma2 : (Q, R)
    drift : (Q, R, J)
        Influence of every cluster on sigma2.
    df : (Q, R)
    fixed : (R, J, f)
        Estimates of slopes that the model has as fixed.
    """

    weight: FloatArray
    values: FloatArray
    spread: FloatArray
    sigma2: FloatArray
    drift: FloatArray
    df: FloatArray
    fixed: FloatArray


def first_stage(equations: list[ClusterEquation], p: int, statistics: TwoLevelStatistics) -> FirstStage:
    """Run every equation in every cluster.

    Parameters
    ----------
    p : int
        Random elements and level-2 variables.
    """
    means, scatter = statistics.clusters()
    layout, p1 = statistics.layout, len(statistics.level1)
    sizes = np.asarray(layout.sizes, dtype=np.float64)
    n, j = means.shape[:2]
    weight = np.broadcast_to(usable(equations, layout).astype(np.float64), (n, j)).copy()
    values = np.zeros((n, j, p))
    values[..., p - (means.shape[-1] - p1) :] = means[..., p1:]
    found = []
    for equation in equations:
        k, at = len(equation.predictors), equation.predictors
        y = statistics.level1.index(equation.outcome)
        inside = scatter[:, :, at[:, None], at]
        inverse, ok = inverse_spd(inside) if k else (inside, np.ones((n, j), dtype=bool))
        weight *= ok
        cross = np.ascontiguousarray(scatter[:, :, at, y])
        slopes = matvec(inverse, cross)
        with np.errstate(invalid="ignore"):
            rss = scatter[:, :, y, y] - (slopes * cross).sum(axis=-1)
        centre = np.where(equation.centred, 0.0, np.ascontiguousarray(means[:, :, at]))
        lever = matvec(inverse, centre)
        block = np.zeros((n, j, k + 1, k + 1))  # (X'X)^-1 with the constant first
        block[..., 1:, 1:] = inverse
        block[..., 0, 1:] = block[..., 1:, 0] = -lever
        block[..., 0, 0] = 1.0 / sizes + (lever * centre).sum(axis=-1)
        intercept = means[:, :, y] - (slopes * centre).sum(axis=-1)
        found.append((np.concatenate([intercept[..., None], slopes], axis=-1), block, rss, sizes - 1.0 - k))
    spread, sigma2, drift, free, fixed = [], [], [], [], []
    keep = weight[..., None] > 0
    for equation, (coefficients, block, rss, df) in zip(equations, found, strict=True):
        modelled = np.flatnonzero(equation.places >= 0)
        places = equation.places[modelled]
        values[..., places] = coefficients[..., modelled]
        wide = np.zeros((n, j, p, p))
        wide[:, :, places[:, None], places] = block[:, :, modelled[:, None], modelled]
        spread.append(np.where(keep[..., None], wide, 0.0))
        rss, each = np.where(keep[..., 0], rss, 0.0), weight * df
        total = each.sum(axis=-1)
        variance = rss.sum(axis=-1) / total
        sigma2.append(variance)
        drift.append((rss - variance[:, None] * each) / total[:, None])
        free.append(total)
        fixed.append(np.where(keep, coefficients[..., equation.fixed >= 0], 0.0))
    return FirstStage(
        weight, np.where(keep, values, 0.0), np.stack(spread), np.stack(sigma2), np.stack(drift), np.stack(free),
        np.concatenate(fixed, axis=-1),
    )  # fmt: skip

"""Starting values where slopes are integrated over: the model whose slopes do not vary, then a variance for them.

A slope of a factor has no estimate within a cluster that could be looked at. The model with all slopes fixed is fitted
first (theory C1): its slopes and loadings are consistent whatever the variances of slopes are (S6). These then start at
the share of the outcome's residual variance, in units of the predictor's, that has the highest likelihood.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.engine import complete_engine
from simstudy.estimation.result import Status
from simstudy.estimation.starts import add_level_starts, moment_estimates
from simstudy.linalg.stacked import FloatArray, columns, submatrix
from simstudy.model.fixed_slopes import fixed_part
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.slope_structure import SlopeStructure

SHARES = (0.02, 0.1, 0.4)
"""Variances of slopes that are tried."""
FLOOR = 0.05
"""Least start of a between (residual) variance, as a share of that of the variable's means."""


def given_starts(
    structure: SlopeStructure, statistics: TwoLevelStatistics, loglik: Callable[[FloatArray], FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Parameters (R, q): the best of those tried, and the same with variances of slopes that were not.

    Parameters
    ----------
    structure : SlopeStructure
        Of the whole model, nothing given.
    statistics : TwoLevelStatistics
        In the model's order.
    loglik : callable
        Log-likelihoods (R,) at parameters (R, q).
    """
    plain, scale = _fixed(structure, statistics)
    tried = np.stack([_with_variances(structure, plain, share * scale) for share in SHARES])
    values = np.stack([np.nan_to_num(loglik(params), nan=-np.inf) for params in tried])
    best = values.argmax(axis=0)
    second = np.where(best == 0, 1, best - 1)
    place = np.arange(len(plain))
    return tried[best, place], tried[second, place]


def _fixed(structure: SlopeStructure, statistics: TwoLevelStatistics) -> tuple[FloatArray, FloatArray]:
    """Parameters (R, q) with slopes that do not vary, and the units (R, K) of their variances."""
    model = structure.model
    fixed = fixed_part(model)
    inner = TwoLevelStructure(fixed.model)
    found = complete_engine(inner, statistics.arrange(fixed.model.level1, fixed.model.level2)).solve_once()
    start = _moments(structure, statistics)
    usable = np.isfinite(found.params).all(axis=-1) & (found.status != int(Status.NON_PD))
    for new, old in enumerate(fixed.index):
        if old >= 0:
            start[:, new] = np.where(usable, found.params[:, old], start[:, new])
    _raise_variances(structure, start, statistics)
    implied = inner.within.implied(np.where(usable[:, None], found.params, 0.0))
    names = inner.within.maps.variables
    at = np.array([[names.index(slope.outcome), names.index(slope.predictor)] for slope in model.slopes])
    outcome, predictor = (np.diagonal(implied.cov, axis1=-2, axis2=-1)[:, place] for place in at.T)
    scale = np.where((outcome > 0.0) & (predictor > 0.0), outcome / predictor, 1.0)
    for row in model.table.rows:
        if row.free >= 0 and not np.isnan(row.start):
            start[:, row.free] = row.start
    return start, np.nan_to_num(scale, nan=1.0)


def _moments(structure: SlopeStructure, statistics: TwoLevelStatistics) -> FloatArray:
    """Parameters (R, q) from unrestricted moments, with slopes that have the mean 0 and the variance 1."""
    model, p1 = structure.model, structure.p1
    mean, within, between = moment_estimates(statistics)
    names, variables = structure.elements, model.variables
    known = np.array([k for k, name in enumerate(names) if name in variables], dtype=np.int64)
    at = np.array([variables.index(names[k]) for k in known], dtype=np.int64)
    cov = np.broadcast_to(np.eye(len(names)), (len(mean), len(names), len(names))).copy()
    cov[:, known[:, None], known] = submatrix(between, at, at)
    centre = np.zeros((len(mean), len(names)))
    centre[:, known] = columns(mean, at)
    mean_within = mean[:, :p1].copy()
    mean_within[:, structure.both] = 0.0
    params, counts = np.zeros((len(mean), structure.q)), np.zeros(structure.q)
    add_level_starts(structure.within, within, mean_within, params, counts)
    add_level_starts(structure.between, cov, centre, params, counts)
    return params / np.maximum(counts, 1.0)


def _raise_variances(structure: SlopeStructure, start: FloatArray, statistics: TwoLevelStatistics) -> None:
    """Raise between (residual) variances that are near 0 or negative: 0 is a saddle point (in place)."""
    _, within, between = moment_estimates(statistics)
    p1, sizes = structure.p1, statistics.layout.mean_size
    spread = np.abs(np.diagonal(between, axis1=-2, axis2=-1)).copy()
    spread[:, :p1] += np.diagonal(within, axis1=-2, axis2=-1) / sizes
    variables = structure.model.variables
    for row in structure.model.table.at("between"):
        if row.op == "~~" and row.lhs == row.rhs and row.free >= 0:
            own = spread[:, variables.index(row.lhs)] if row.lhs in variables else spread.mean(axis=-1)
            start[:, row.free] = np.maximum(start[:, row.free], FLOOR * own)


def _with_variances(structure: SlopeStructure, plain: FloatArray, variances: FloatArray) -> FloatArray:
    """The same with variances (R, K) of slopes, which covary with nothing."""
    result = plain.copy()
    names = [slope.name for slope in structure.model.slopes]
    for row in structure.model.table.at("between"):
        if row.op == "~~" and row.free >= 0 and np.isnan(row.start):
            if row.lhs == row.rhs and row.lhs in names:
                result[:, row.free] = variances[:, names.index(row.lhs)]
            elif row.lhs in names or row.rhs in names:
                result[:, row.free] = 0.0
    return result

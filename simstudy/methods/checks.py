"""Checks that methods share: data sets that no method can fit, and models that only some can."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simstudy.data.layout import ClusterLayout
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.errors import EstimatorError
from simstudy.estimation.result import FitResult, Status
from simstudy.linalg.stacked import BoolArray, FloatArray
from simstudy.model.implied import TwoLevelStructure
from simstudy.model.twolevel import TwoLevelModel

# Squared deviations below this share of the squared values are rounding, not variance.
ROUNDING = 1e-24


def refuse_constraints(model: TwoLevelModel) -> str | None:
    """Reason of the methods that cannot impose ``==`` constraints other than equal labels, nor bounds."""
    if model.table.constraints:
        return f"it does not impose '==' constraints among parameters; {_who_does(model)}"
    return refuse_bounds(model)


def refuse_bounds(model: TwoLevelModel) -> str | None:
    """Reason of the methods that cannot keep parameters within bounds or under inequalities."""
    if model.table.bounded:
        return f"it does not impose bounds and inequalities on parameters; {_who_does(model)}"
    return None


def _who_does(model: TwoLevelModel) -> str:
    return "msem does, with slopes that vary" if model.slopes else "msem does"


def refuse_ties_of_levels(model: TwoLevelModel) -> str | None:
    """Reason of the methods that analyse the levels apart and so cannot equate parameters of both."""
    table = model.table
    level_of = dict(zip(table.names, table.levels, strict=True))
    tied = [f"'{name}' is one parameter of both levels" for name, level in level_of.items() if level == "both"]
    tied += [
        f"the constraint '{constraint.text}' ties them"
        for constraint in table.constraints
        if len({level_of[name] for name in constraint.names if name in level_of}) > 1
    ]
    if not tied:
        return None
    return f"it analyses the levels apart, and {tied[0]}; goldstein, muml and msem fit them together"


def refuse_empty_between(model: TwoLevelModel) -> str | None:
    """Reason of the methods that need variables of the between level.

    A model has none if nothing but random slopes varies over clusters, and the method holds these fixed.
    """
    if model.observed("between"):
        return None
    return "with its random slopes held fixed nothing varies over clusters; disaggregated fits such a model"


def refuse_few(model: TwoLevelModel, layout: ClusterLayout) -> str | None:
    """Reason of the methods whose covariance matrices of both levels must be estimable."""
    if not model.observed("between"):
        return refuse_empty_between(model)
    if layout.n_obs - layout.n_clusters < len(model.level1):
        return "fewer within-cluster degrees of freedom than level-1 variables"
    if layout.n_clusters <= len(model.observed("between")):
        return "no more clusters than between variables"
    return None


def admissible(structure: TwoLevelStructure, params: FloatArray) -> BoolArray:
    """No negative variance, Sigma_within positive definite, and Sigma_between positive semidefinite (R,)."""
    _, within, between = structure.moments(params)
    at = structure.between.positions
    bad = ~np.isfinite(params).all(axis=-1)
    within, between = within.copy(), between[:, at[:, None], at].copy()
    within[bad], between[bad] = np.eye(within.shape[-1]), np.eye(between.shape[-1])
    low = np.linalg.eigvalsh(between)
    high = np.abs(low).max(axis=-1)
    proper = (low[:, 0] >= -1e-10 * high) & (np.linalg.eigvalsh(within)[:, 0] > 0)
    variances = params[:, structure.model.table.variance_indices]
    return np.asarray(~bad & proper & (variances >= -1e-10).all(axis=-1))


def check_kinds(name: str, kinds: tuple[str, ...]) -> None:
    """Raise an `EstimatorError` unless there is a kind of SE, and none twice."""
    if not kinds:
        raise EstimatorError(f"method '{name}': option 'se' names no kind of standard error")
    if len(set(kinds)) < len(kinds):
        raise EstimatorError(f"method '{name}': option 'se' names a kind of standard error twice")


def judge_data(result: FitResult, statistics: TwoLevelStatistics, *, within: bool, between: bool = True) -> FitResult:
    """Take the verdict OK from data sets that are not finite or have a variable without variance.

    Parameters
    ----------
    within : bool
        Whether the method needs within variance of every level-1 variable.
    between : bool
        Whether the method uses level-2 variables.
    """
    bad = ~_finite(statistics)
    flat = _without_variance(statistics, within=within, between=between) & ~bad
    if not bad.any() and not flat.any():
        return result
    status = result.status.copy()
    status[flat] = np.where(status[flat] == int(Status.OK), int(Status.SINGULAR_INFORMATION), status[flat])
    status[bad] = int(Status.NONFINITE)
    return replace(result, status=status).blank_failures()


def _finite(statistics: TwoLevelStatistics) -> BoolArray:
    n = statistics.n_replicates
    parts = (statistics.scatter_within, statistics.size_means, statistics.size_scatter)
    return np.asarray(np.logical_and.reduce([np.isfinite(part.reshape(n, -1)).all(axis=1) for part in parts]))


def _without_variance(statistics: TwoLevelStatistics, *, within: bool, between: bool) -> BoolArray:
    p1 = len(statistics.level1)
    sizes, counts = statistics.layout.distinct.astype(float), statistics.layout.counts.astype(float)
    inside = np.diagonal(statistics.scatter_within, axis1=-2, axis2=-1)
    weights = (sizes * counts)[:, None]
    means = statistics.size_means
    spread = np.diagonal(statistics.size_scatter, axis1=-2, axis2=-1) * sizes[:, None]
    centre = (weights * means).sum(axis=1) / weights.sum()
    outside: FloatArray = (spread + weights * (means - centre[:, None, :]) ** 2).sum(axis=1)
    squares = (weights * means**2).sum(axis=1) + outside
    limit = ROUNDING * squares
    total = outside.copy()
    total[:, :p1] += inside
    flat = (total <= limit) if between else (total <= limit)[:, :p1]
    found = flat.any(axis=1)
    if within:
        found |= (inside <= limit[:, :p1]).any(axis=1)
    return np.asarray(found)

"""Generating values, total variances and ICCs -> values of all free parameters of a generating model.

A variable of total variance ``v`` and intraclass correlation ``icc`` has variance (1 - icc) v within and icc v between
clusters; one that lives at one level has variance v there. With paths A and residual covariances S of a level, and
E = (I - A)^-1, variances are diag(E S E'): linear in the residual variances, which are therefore solved for exactly,
for recursive and for non-recursive models alike.

Residual variances that are given, or fixed in the model, are used as they are. A scalar ``variance`` or ``icc`` is a
default for every variable it may apply to; an entry of a table is a promise, and an error where given or fixed residual
variances break it. Where the residual variance of one level is known and no icc is asked for, the other level's makes
up the total variance.

Random slopes add to the variances of their outcomes; those are linear in the residual variances all the same.

Indicators of latent variables are variables like any other: their residual variances follow from loadings, variances of
the latent variables, total variance and icc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simstudy.errors import DesignError
from simstudy.linalg.stacked import FloatArray, inverse
from simstudy.model.parameters import Parameter
from simstudy.model.slope_structure import Meaning
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.feasible import (
    PROMISE,
    ROUNDING,
    broken_constraints,
    broken_promises,
    covariance_problems,
    impossible,
    variances,
)
from simstudy.population.given import LEVELS, Problem, Request, Shares, check_shares, missing, read_values


def calibrate(
    model: TwoLevelModel,
    values: Mapping[str, float],
    variance: Shares = None,
    icc: Shares = None,
    slopes: Meaning = "latent",
) -> tuple[float, ...]:
    """Values of the free parameters, in the order of ``model.names`` (q).

    Parameters
    ----------
    model : TwoLevelModel
        The generating model.
    values : mapping
        By label or by path (``between: y ~~ y``, ``within: talent ~~ effort``, ``between: y ~ 1``). Covariances and
        means are 0 unless given; regressions, loadings and variances of latent variables must be given.
    variance : float or mapping
        Total variance of all observed variables, or by variable.
    icc : float or mapping
        Between share of the variables that live on both levels, or by variable.
    slopes : str
        What random slopes multiply, as in `population.Population`; their means and variances must be given.

    Raises
    ------
    DesignError
        Everything that is missing, unknown, contradictory or impossible, with what would be possible.
    """
    found, problems = attempt(model, values, variance, icc, slopes)
    if problems:
        raise DesignError([problem.text for problem in problems])
    return tuple(found.tolist())


def attempt(
    model: TwoLevelModel, values: Mapping[str, float], variance: Shares, icc: Shares, slopes: Meaning = "latent"
) -> tuple[FloatArray, list[Problem]]:
    """As `calibrate`, but return the problems beside the values found so far."""
    params, problems = read_values(model, values)
    problems += missing(model, params) + check_shares(model, variance, icc)
    if problems:
        return params, problems
    goals, problems = _goals(model, params, variance, icc)
    if problems:
        return params, problems
    params, problems = _solve(model, params, goals, Request(variance, icc), slopes)
    problems = problems or covariance_problems(model, params) or broken_promises(model, params, variance, icc, slopes)
    return params, problems or broken_constraints(model, params)


@dataclass(frozen=True)
class Goal:
    """Variance asked for, within or between clusters, or of both together (``whole``)."""

    variance: float
    whole: bool = False


def _goals(
    model: TwoLevelModel, params: FloatArray, variance: Shares, icc: Shares
) -> tuple[dict[Parameter, Goal], list[Problem]]:
    """Variances asked for, by the residual variance that is to be found."""
    goals: dict[Parameter, Goal] = {}
    problems = []
    request = Request(variance, icc)
    residuals = [row for row in model.table.rows if row.op == "~~" and row.lhs == row.rhs]
    unknown = {(row.lhs, row.level): row for row in residuals if row.free >= 0 and np.isnan(params[row.free])}
    for row in unknown.values():
        total, share = request.variance(row.lhs), request.icc(row.lhs)
        if row.lhs not in model.both:
            share = float(row.level == "between")
        if share is None and total is not None and {(row.lhs, level) for level in LEVELS} - set(unknown):
            goals[row] = Goal(total, whole=True)
        elif total is None or share is None:
            lacking = [what for what, value in (("variance", total), ("icc", share)) if value is None]
            problems.append(
                Problem(
                    row.path,
                    f"the {row.level} variance of '{row.lhs}' is not determined: give the {' and the '.join(lacking)} "
                    f"of '{row.lhs}', or its residual variance as '{row.path}'",
                )
            )
        else:
            goals[row] = Goal(total * (share if row.level == "between" else 1.0 - share))
    return goals, problems


def _reached(model: TwoLevelModel, params: FloatArray, goals: Mapping[Parameter, Goal], slopes: Meaning) -> FloatArray:
    """Variances that the goals are about, at these parameters."""
    found = variances(model, params, slopes)
    at = [model.variables.index(row.lhs) for row in goals]
    own = found[[LEVELS.index(row.level) for row in goals], at]
    reached: FloatArray = np.where([goal.whole for goal in goals.values()], found.sum(axis=0)[at], own)
    return reached


def _solve(
    model: TwoLevelModel, params: FloatArray, goals: Mapping[Parameter, Goal], request: Request, meaning: Meaning
) -> tuple[FloatArray, list[Problem]]:
    """Residual variances that give every goal its variance: one linear equation a goal."""
    unknown = sorted({row.free for row in goals})
    params = params.copy()
    params[unknown] = 0.0
    known = _reached(model, params, goals, meaning)
    slopes = np.zeros((len(goals), len(unknown)))
    for column, free in enumerate(unknown):
        unit = params.copy()
        unit[free] = 1.0
        slopes[:, column] = _reached(model, unit, goals, meaning) - known
    if not (np.isfinite(variances(model, params, meaning)).all() and np.isfinite(slopes).all()):
        return params, [
            Problem("loop", "the paths form a loop that has no solution: I - B is singular at these values")
        ]
    wanted = np.array([goal.variance for goal in goals.values()])
    half, ok = inverse(slopes.T @ slopes) if len(goals) > len(unknown) else inverse(slopes)
    if len(goals) > len(unknown):  # equal residual variances
        half = half @ slopes.T
    solution = half @ (wanted - known)
    if not ok or (np.abs(known + slopes @ solution - wanted) > PROMISE * wanted.max(initial=0.0)).any():
        labels = ", ".join(f"'{model.names[free]}'" for free in unknown)
        text = f"no residual variances ({labels}) give every variable the variance asked for; give their values"
        return params, [Problem("equations", text)]
    place = [unknown.index(row.free) for row in goals]
    solution[np.abs(solution) <= ROUNDING * wanted.max(initial=0.0)] = 0.0
    params[unknown] = solution
    if (solution >= 0.0).all():
        return params, []
    # the variance that everything but its own residual gives a variable is the least it can have
    own = half[place, range(len(goals))]
    own = np.where((own > 0.0) & (len(goals) == len(unknown)), own, 1.0)
    least = {(row.level, row.lhs): w - s / o for row, w, s, o in zip(goals, wanted, solution[place], own, strict=True)}
    negative = [row for row, residual in zip(goals, solution[place], strict=True) if residual < 0.0]
    return params, [impossible(model, row, goals[row].variance, least, request) for row in negative]

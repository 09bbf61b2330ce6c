"""Which moments a generating model cannot have, and what would be possible instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from simstudy.linalg.psd import psd_factor
from simstudy.linalg.stacked import FloatArray, inverse
from simstudy.model.parameters import Parameter
from simstudy.model.representation import fill, level_matrices
from simstudy.model.slope_structure import Meaning, SlopeStructure
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.given import LEVELS, Problem, Request, Shares

ROUNDING = 1e-12
"""Relative to the variance asked for: a residual variance this small is a rounding error of zero."""

PROMISE = 1e-8
"""A table's entry counts as kept up to the digits that people type."""


def variances(model: TwoLevelModel, params: FloatArray, meaning: Meaning = "latent") -> FloatArray:
    """Variances (2, p) of the variables within and between; NaN where I - A is singular."""
    if model.slopes:
        _, within, between = SlopeStructure(model).moments(params, meaning)
        found = np.zeros((2, len(between)))
        found[0, : len(within)], found[1] = np.diagonal(within), np.diagonal(between)
        return found
    result = np.zeros((2, len(model.variables)))
    for k, level in enumerate(LEVELS):
        maps = level_matrices(model, level)
        filled = fill(maps, params)
        total, _ = inverse(np.eye(len(maps.variables)) - filled.paths)
        cov = np.diagonal(total @ filled.covariances @ total.T)
        result[k, maps.positions] = cov[: maps.n_observed]
    return result


def impossible(
    model: TwoLevelModel, row: Parameter, goal: float, least: Mapping[tuple[str, str], float], request: Request
) -> Problem:
    """Say which variance cannot be had, and what can."""
    name, total = row.lhs, request.variance(row.lhs) or math.nan
    share = request.icc(name) if name in model.both else None
    low, rest = (max(least.get((level, name), 0.0), 0.0) for level in ("between", "within"))
    if share is None or low + rest > total or low >= total:
        possible = f"a variance of '{name}' of at least {_round(low + rest, math.ceil)}"
    elif row.level == "between":
        possible = f"icc of '{name}' of at least {_round(low / total, math.ceil)} (with variance {total:g})"
    else:
        possible = f"icc of '{name}' of at most {_round(1.0 - rest / total, math.floor)} (with variance {total:g})"
    asked = f"variance {total:g}" if share is None else f"variance {total:g} with icc {share:g}"
    rows = [other for other in model.table.at(row.level) if other.free >= 0]
    factors = {other.lhs for other in model.table.at(row.level) if (other.op, other.rhs) == ("=~", name)}
    paths = [
        f"|{other.label or other.path}|"
        for other in rows
        if (other.op, other.lhs) == ("~", name) or (other.op, other.rhs) == ("=~", name)
    ]
    paths += [f"variance of '{f.lhs}'" for f in rows if f.op == "~~" and f.lhs == f.rhs and f.lhs in factors]
    return Problem(
        row.path,
        f"impossible {row.level} variance of '{name}': {asked} makes it {goal:.4g}, but its paths and the variables "
        f"behind them alone explain {least[row.level, name]:.4g}; possible: {possible}"
        + (f", or a smaller {' or '.join(paths)}" if paths else ""),
    )


def broken_constraints(model: TwoLevelModel, params: FloatArray) -> list[Problem]:
    """Constraints (``==``), inequalities and bounds of the model that its values do not fulfil."""
    table = model.table
    values = {**table.constants, **dict(zip(table.names, params.tolist(), strict=True))}
    problems = []
    for constraint in table.constraints:
        left, right = float(constraint.left.evaluate(values)), float(constraint.right.evaluate(values))
        if not abs(left - right) <= PROMISE * max(1.0, abs(left), abs(right)):
            text = f"the model's constraint '{constraint.text}' does not hold: its sides are {left:.6g} and {right:.6g}"
            problems.append(Problem(f"== {constraint.text}", f"{text}; leave '{constraint.dependent}' out to solve it"))
    for one in table.inequalities:
        larger, smaller = float(one.larger.evaluate(values)), float(one.smaller.evaluate(values))
        if not smaller - larger <= PROMISE * max(1.0, abs(larger), abs(smaller)):
            problems.append(
                Problem(f"> {one.text}", f"the model's inequality '{one.text}' does not hold for the values given")
            )
    for name, value, lower, upper in zip(table.names, params.tolist(), table.lower, table.upper, strict=True):
        margin = PROMISE * max(1.0, abs(value))
        if value < lower - margin or value > upper + margin:
            problems.append(
                Problem(f"bound {name}", f"'{name}' is {value:.6g}, outside of its bounds, {lower:g} to {upper:g}")
            )
    return problems


def _round(value: float, whole: Callable[[float], int]) -> str:
    """Three significant digits, rounded to the possible side."""
    if value <= 0.0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    slack = -1e-9 if whole is math.ceil else 1e-9
    return f"{whole(value / unit + slack) * unit:.6g}"


def covariance_problems(model: TwoLevelModel, params: FloatArray) -> list[Problem]:
    """(Residual) covariance matrices that no variables can have, with the pair to blame."""
    problems = []
    for level in LEVELS:
        maps = level_matrices(model, level)
        names, cov = maps.variables, fill(maps, params).covariances
        negative = [i for i in range(len(cov)) if cov[i, i] < 0.0]
        for i in negative:
            text = f"{level} level: the (residual) variance of '{names[i]}' is {cov[i, i]:g}; allowed: at least 0"
            problems.append(Problem(f"{level} {names[i]}", text))
        if negative:
            continue
        bounds = np.sqrt(np.outer(np.diagonal(cov), np.diagonal(cov)))
        pairs = [(j, i) for i in range(len(cov)) for j in range(i) if abs(cov[i, j]) > bounds[i, j] * (1.0 + ROUNDING)]
        for i, j in pairs:
            text = (
                f"{level} level: the (residual) covariance of '{names[i]}' and '{names[j]}' is {cov[i, j]:.4g}, but "
                f"with (residual) variances {cov[i, i]:.4g} and {cov[j, j]:.4g} its size is at most {bounds[i, j]:.4g}"
            )
            problems.append(Problem(f"{level} {names[i]} {names[j]}", text))
        factor = psd_factor(cov)
        if not pairs and (np.abs(factor @ factor.T - cov) > 1e-6 * bounds + 1e-300).any():
            involved = ", ".join(name for name, row in zip(names, cov, strict=True) if np.count_nonzero(row) > 1)
            text = f"{level} level: the (residual) covariances of {involved} contradict each other; make them smaller"
            problems.append(Problem(level, f"{text} (the matrix is not positive semidefinite)"))
    return problems


def broken_promises(
    model: TwoLevelModel, params: FloatArray, variance: Shares, icc: Shares, slopes: Meaning
) -> list[Problem]:
    """Entries of the tables ``variance`` and ``icc`` that given or fixed residual variances do not leave true."""
    found = variances(model, params, slopes)
    within, between = (dict(zip(model.variables, row.tolist(), strict=True)) for row in found)
    problems = []
    for what, shares in (("variance", variance), ("icc", icc)):
        for name, asked in shares.items() if isinstance(shares, Mapping) else ():
            total = within[name] + between[name]
            true = total if what == "variance" else between[name] / total if total else 0.0
            if abs(true - asked) > PROMISE * max(1.0, abs(asked)):
                text = (
                    f"{what} of '{name}': {asked:g} is asked for, but the residual variances given or fixed for it "
                    f"make it {true:.4g}; leave one of them out"
                )
                problems.append(Problem(f"{what}.{name}", text))
    return problems

"""Generating values, total variances and ICCs -> values of all free parameters of a generating model.

A variable of total variance ``v`` and intraclass correlation ``icc`` has variance (1 - icc) v within and icc v between
clusters; one that lives at one level has variance v there. With paths A and residual covariances S of a level, and
E = (I - A)^-1, variances are diag(E S E'): linear in the residual variances, which are therefore solved for exactly,
for recursive and for non-recursive models alike.

Residual variances that are given, or fixed in the model, are used as they are. A scalar ``variance`` or ``icc`` is a
default for every variable it may apply to; an entry of a table is a promise, and an error where given or fixed residual
variances break it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from simstudy.arrays import FloatArray, inverse
from simstudy.errors import DesignError, did_you_mean
from simstudy.model.parameters import Parameter
from simstudy.model.representation import fill, level_matrices
from simstudy.model.syntax import LEVELS as LEVEL_WORDS
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.draw import psd_factor

LEVELS = ("within", "between")
_ROUNDING = 1e-12  # relative to the variance asked for: a residual variance this small is a rounding error of zero
_PROMISE = 1e-8  # a table's entry counts as kept up to the digits that people type
_PATH = re.compile(r"\s*(\w+)\s*:\s*([A-Za-z_.][\w.]*)\s*(=~|~~|~)\s*(1|[A-Za-z_.][\w.]*)\s*")

Shares = float | Mapping[str, float] | None


@dataclass(frozen=True)
class Problem:
    """What cannot be done; its ``topic`` is the same for every cell of a design that meets the same problem."""

    topic: str
    text: str


def calibrate(
    model: TwoLevelModel, values: Mapping[str, float], variance: Shares = None, icc: Shares = None
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

    Raises
    ------
    DesignError
        Everything that is missing, unknown, contradictory or impossible, with what would be possible.
    """
    found, problems = attempt(model, values, variance, icc)
    if problems:
        raise DesignError([problem.text for problem in problems])
    return tuple(found.tolist())


def attempt(
    model: TwoLevelModel, values: Mapping[str, float], variance: Shares, icc: Shares
) -> tuple[FloatArray, list[Problem]]:
    """As `calibrate`, but return the problems beside the values found so far."""
    params, problems = _given(model, values)
    problems += _missing(model, params) + _check_shares(model, variance, icc)
    if problems:
        return params, problems
    goals, problems = _goals(model, params, variance, icc)
    if problems:
        return params, problems
    params, problems = _solve(model, params, goals, _Request(variance, icc))
    return params, problems or _covariance_problems(model, params) or _broken_promises(model, params, variance, icc)


def resolve(model: TwoLevelModel, key: str) -> Parameter | str:
    """The parameter that a label or a path names, or what is wrong with the name."""
    for row in model.table.rows:
        if row.label and row.label == key:
            return row
    if key in model.estimands.defined_names:
        return "it is defined by := and follows from other parameters, so it cannot be given"
    match = _PATH.fullmatch(key)
    level = LEVEL_WORDS.get(match.group(1).lower()) if match else None
    if match and level:
        lhs, op, rhs = match.group(2), match.group(3), match.group(4)
        found = model.table.find(level, lhs, *(("~1", "") if (op, rhs) == ("~", "1") else (op, rhs)))
        if found is not None:
            return found
    paths = [row.path for row in model.table.rows]
    if ":" not in key and (
        hits := [path for path in paths if path.split(": ")[1].replace(" ", "") == key.replace(" ", "")]
    ):
        return f"write the level in front: {' or '.join(repr(path) for path in hits)}"
    labels = list(dict.fromkeys(row.label for row in model.table.rows if row.label))
    hint = did_you_mean(key, paths if ":" in key else labels + paths)
    allowed = f"; allowed: {', '.join([*labels, 'paths such as'])} '{paths[0]}'"
    return f"the generating model has no such parameter{hint or allowed}"


def _given(model: TwoLevelModel, values: Mapping[str, float]) -> tuple[FloatArray, list[Problem]]:
    """Values by free parameter (q), NaN where none is given."""
    params = np.full(len(model.names), np.nan)
    source: dict[int, str] = {}
    problems = []
    for key, value in values.items():
        row = resolve(model, key)
        if isinstance(row, str):
            problems.append(Problem(key, f"'{key}': {row}"))
        elif not math.isfinite(value):
            problems.append(Problem(key, f"'{key}': {value} is not a finite number"))
        elif row.free < 0 and value != row.value:
            problems.append(
                Problem(key, f"'{key}': {value:g} is given, but the model fixes this parameter at {row.value:g}")
            )
        elif row.free in source and params[row.free] != value:
            first = f"'{source[row.free]}' gives the same parameter {params[row.free]:g}"
            problems.append(Problem(key, f"'{key}': {value:g} is given, but {first}"))
        elif row.free >= 0:
            params[row.free] = value
            source.setdefault(row.free, key)
    return params, problems


def _missing(model: TwoLevelModel, params: FloatArray) -> list[Problem]:
    """Put 0 for means and covariances that are not given (in place); what else must be given and is not."""
    wanted: dict[str, str] = {}
    variances = set(model.table.variance_indices.tolist())
    for row in model.table.rows:
        if row.free < 0 or not np.isnan(params[row.free]):
            continue
        if row.op == "~1" or (row.op == "~~" and row.free not in variances):
            params[row.free] = 0.0
        elif row.op != "~~":
            wanted[model.names[row.free]] = ""
        elif row.lhs == row.rhs and row.lhs in model.latents(row.level):
            wanted[model.names[row.free]] = " (latent variables have no icc: give their variances)"
    return [
        Problem(name, f"no value is given for '{name}'{note}; give a number or an expression by label or by path")
        for name, note in wanted.items()
    ]


def _check_shares(model: TwoLevelModel, variance: Shares, icc: Shares) -> list[Problem]:
    """Problems of ``variance`` and ``icc`` themselves."""
    problems = []
    for what, shares in (("variance", variance), ("icc", icc)):
        entries = shares if isinstance(shares, Mapping) else {} if shares is None else {"": shares}
        for name, value in entries.items():
            where, text = f"{what} of '{name}'" if name else what, ""
            if name and name not in model.variables:
                hint = did_you_mean(name, model.variables)
                text = f"{what}: unknown variable '{name}'{hint}; allowed: {', '.join(model.variables)}"
            elif name and what == "icc" and name not in model.both:
                level = "within" if name in model.level1 else "between"
                text = f"{where}: '{name}' lives at the {level} level only, so it has no intraclass correlation"
            elif wrong := share_problem(what, value):
                text = f"{where}: {wrong}"
            if text:
                problems.append(Problem(f"{what}.{name}", text))
    return problems


def share_problem(what: str, value: float) -> str:
    """What is wrong with a ``variance`` or an ``icc``, or an empty string."""
    if what == "icc":
        return "" if 0.0 <= value < 1.0 else f"found {value:g}; allowed: at least 0 and below 1"
    return "" if value > 0.0 and math.isfinite(value) else f"found {value:g}; allowed: above 0"


@dataclass(frozen=True)
class _Request:
    """What was asked for, by variable."""

    variances: Shares
    iccs: Shares

    def variance(self, name: str) -> float | None:
        return self.variances.get(name) if isinstance(self.variances, Mapping) else self.variances

    def icc(self, name: str) -> float | None:
        return self.iccs.get(name) if isinstance(self.iccs, Mapping) else self.iccs


def _goals(
    model: TwoLevelModel, params: FloatArray, variance: Shares, icc: Shares
) -> tuple[dict[Parameter, float], list[Problem]]:
    """Variances asked for, by the residual variance that is to be found."""
    goals: dict[Parameter, float] = {}
    problems = []
    request = _Request(variance, icc)
    for row in model.table.rows:
        if row.op != "~~" or row.lhs != row.rhs or row.free < 0 or not np.isnan(params[row.free]):
            continue
        total, share = request.variance(row.lhs), request.icc(row.lhs)
        if row.lhs not in model.both:
            share = float(row.level == "between")
        if total is None or share is None:
            lacking = [what for what, value in (("variance", total), ("icc", share)) if value is None]
            problems.append(
                Problem(
                    row.path,
                    f"the {row.level} variance of '{row.lhs}' is not determined: give the {' and the '.join(lacking)} "
                    f"of '{row.lhs}', or its residual variance as '{row.path}'",
                )
            )
        else:
            goals[row] = total * (share if row.level == "between" else 1.0 - share)
    return goals, problems


def _variances(model: TwoLevelModel, params: FloatArray) -> FloatArray:
    """Variances (2, p) of the variables within and between; NaN where I - A is singular."""
    result = np.zeros((2, len(model.variables)))
    for k, level in enumerate(LEVELS):
        maps = level_matrices(model, level)
        filled = fill(maps, params)
        total, _ = inverse(np.eye(len(maps.variables)) - filled.paths)
        cov = np.diagonal(total @ filled.covariances @ total.T)
        result[k, maps.positions] = cov[: maps.n_observed]
    return result


def _solve(
    model: TwoLevelModel, params: FloatArray, goals: Mapping[Parameter, float], request: _Request
) -> tuple[FloatArray, list[Problem]]:
    """Residual variances that give every goal its variance: one linear equation a goal."""
    unknown = sorted({row.free for row in goals})
    params = params.copy()
    params[unknown] = 0.0
    at = ([LEVELS.index(row.level) for row in goals], [model.variables.index(row.lhs) for row in goals])
    start = _variances(model, params)
    known = start[at]
    slopes = np.zeros((len(goals), len(unknown)))
    for column, free in enumerate(unknown):
        unit = params.copy()
        unit[free] = 1.0
        slopes[:, column] = _variances(model, unit)[at] - known
    if not (np.isfinite(start).all() and np.isfinite(slopes).all()):
        return params, [
            Problem("loop", "the paths form a loop that has no solution: I - B is singular at these values")
        ]
    wanted = np.array(list(goals.values()))
    half, ok = inverse(slopes.T @ slopes) if len(goals) > len(unknown) else inverse(slopes)
    if len(goals) > len(unknown):  # equal residual variances
        half = half @ slopes.T
    solution = half @ (wanted - known)
    if not ok or (np.abs(known + slopes @ solution - wanted) > _PROMISE * wanted.max(initial=0.0)).any():
        labels = ", ".join(f"'{model.names[free]}'" for free in unknown)
        text = f"no residual variances ({labels}) give every variable the variance asked for; give their values"
        return params, [Problem("equations", text)]
    place = [unknown.index(row.free) for row in goals]
    solution[np.abs(solution) <= _ROUNDING * wanted.max(initial=0.0)] = 0.0
    params[unknown] = solution
    if (solution >= 0.0).all():
        return params, []
    # the variance that everything but its own residual gives a variable is the least it can have
    own = half[place, range(len(goals))]
    own = np.where((own > 0.0) & (len(goals) == len(unknown)), own, 1.0)
    least = {(row.level, row.lhs): w - s / o for row, w, s, o in zip(goals, wanted, solution[place], own, strict=True)}
    negative = [row for row, residual in zip(goals, solution[place], strict=True) if residual < 0.0]
    return params, [_impossible(model, row, goals[row], least, request) for row in negative]


def _impossible(
    model: TwoLevelModel, row: Parameter, goal: float, least: Mapping[tuple[str, str], float], request: _Request
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
    paths = [
        f"|{other.label or other.path}|"
        for other in model.table.at(row.level)
        if (other.op, other.lhs) == ("~", name) or (other.op, other.rhs) == ("=~", name)
    ]
    return Problem(
        row.path,
        f"impossible {row.level} variance of '{name}': {asked} makes it {goal:.4g}, but its paths and the variables "
        f"behind them alone explain {least[row.level, name]:.4g}; possible: {possible}"
        + (f", or a smaller {' or '.join(paths)}" if paths else ""),
    )


def _round(value: float, whole: Callable[[float], int]) -> str:
    """Three significant digits, rounded to the possible side."""
    if value <= 0.0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    slack = -1e-9 if whole is math.ceil else 1e-9
    return f"{whole(value / unit + slack) * unit:.6g}"


def _covariance_problems(model: TwoLevelModel, params: FloatArray) -> list[Problem]:
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
        pairs = [(j, i) for i in range(len(cov)) for j in range(i) if abs(cov[i, j]) > bounds[i, j] * (1.0 + _ROUNDING)]
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


def _broken_promises(model: TwoLevelModel, params: FloatArray, variance: Shares, icc: Shares) -> list[Problem]:
    """Entries of the tables ``variance`` and ``icc`` that given or fixed residual variances do not leave true."""
    within, between = (dict(zip(model.variables, row.tolist(), strict=True)) for row in _variances(model, params))
    problems = []
    for what, shares in (("variance", variance), ("icc", icc)):
        for name, asked in shares.items() if isinstance(shares, Mapping) else ():
            total = within[name] + between[name]
            true = total if what == "variance" else between[name] / total if total else 0.0
            if abs(true - asked) > _PROMISE * max(1.0, abs(asked)):
                text = (
                    f"{what} of '{name}': {asked:g} is asked for, but the residual variances given or fixed for it "
                    f"make it {true:.4g}; leave one of them out"
                )
                problems.append(Problem(f"{what}.{name}", text))
    return problems

"""What is asked of a generating model: values by label or path, total variances and ICCs by variable."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simstudy.errors import did_you_mean
from simstudy.linalg.stacked import FloatArray
from simstudy.model.constraints import ConstraintSet
from simstudy.model.levels import LEVELS as LEVEL_WORDS
from simstudy.model.parameters import Parameter
from simstudy.model.twolevel import TwoLevelModel

LEVELS = ("within", "between")

Shares = float | Mapping[str, float] | None


@dataclass(frozen=True)
class Problem:
    """What cannot be done; its ``topic`` is the same for every cell of a design that meets the same problem."""

    topic: str
    text: str


@dataclass(frozen=True)
class Request:
    """What was asked for, by variable."""

    variances: Shares
    iccs: Shares

    def variance(self, name: str) -> float | None:
        """Total variance."""
        return self.variances.get(name) if isinstance(self.variances, Mapping) else self.variances

    def icc(self, name: str) -> float | None:
        """Between share."""
        return self.iccs.get(name) if isinstance(self.iccs, Mapping) else self.iccs


def resolve(model: TwoLevelModel, key: str) -> Parameter | str:
    """The parameter that a label or a path names, or what is wrong with the name."""
    for row in model.table.rows:
        if row.label and row.label == key:
            return row
    if key in model.estimands.defined_names:
        return "it is defined by := and follows from other parameters, so it cannot be given"
    word, _, rest = key.partition(":")
    level = LEVEL_WORDS.get(word.strip().lower())
    if level:
        compact = "".join(rest.split())
        for row in model.table.at(level):
            ways = [f"{row.lhs}{row.op}{row.rhs}"] + ([f"{row.rhs}~~{row.lhs}"] if row.op == "~~" else [])
            if compact in ("".join(way.split()) for way in ways):
                return row
    paths = [row.path for row in model.table.rows]
    if ":" not in key and (
        hits := [path for path in paths if path.split(": ")[1].replace(" ", "") == key.replace(" ", "")]
    ):
        return f"write the level in front: {' or '.join(repr(path) for path in hits)}"
    labels = list(dict.fromkeys(row.label for row in model.table.rows if row.label))
    hint = did_you_mean(key, paths if ":" in key else labels + paths)
    allowed = f"; allowed: {', '.join([*labels, 'paths such as'])} '{paths[0]}'"
    return f"the generating model has no such parameter{hint or allowed}"


def read_values(model: TwoLevelModel, values: Mapping[str, float]) -> tuple[FloatArray, list[Problem]]:
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
        elif row.slope:
            problems.append(Problem(key, f"'{key}': this slope is random; give its mean as 'between: {row.slope} ~ 1'"))
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


def missing(model: TwoLevelModel, params: FloatArray) -> list[Problem]:
    """Put 0 for means and covariances that are not given (in place); what else must be given and is not.

    The mean of a random slope must be given, as the slope that it is.

    A parameter that a ``==`` constraint of the model makes a function of others follows from them.
    """
    table = model.table
    variances = set(table.variance_indices.tolist())
    dependent = {constraint.index for constraint in table.constraints}
    slopes = {slope.name for slope in model.slopes}
    for row in table.rows:
        default = (row.op == "~1" and row.lhs not in slopes) or (row.op == "~~" and row.free not in variances)
        if default and row.free >= 0 and row.free not in dependent and np.isnan(params[row.free]):
            params[row.free] = 0.0
    for constraint in table.constraints:
        if np.isnan(params[constraint.index]):
            filled = ConstraintSet(table.names, table.constants, (constraint,)).fill(params)
            params[constraint.index] = filled[constraint.index]
    wanted: dict[str, str] = {}
    for row in table.rows:
        if row.free < 0 or not np.isnan(params[row.free]):
            continue
        if row.free not in variances:
            wanted[model.names[row.free]] = (
                " (the mean of a random slope)" if row.lhs in slopes and row.op == "~1" else ""
            )
        elif row.lhs in slopes:
            wanted[model.names[row.free]] = " (the variance of a random slope, apart from its predictors)"
        elif row.lhs in model.latents(row.level):
            what = "residual variances" if row.lhs in model.outcomes(row.level) else "variances"
            wanted[model.names[row.free]] = f" (latent variables have no icc: give their {what})"
    return [
        Problem(name, f"no value is given for '{name}'{note}; give a number or an expression by label or by path")
        for name, note in wanted.items()
    ]


def check_shares(model: TwoLevelModel, variance: Shares, icc: Shares) -> list[Problem]:
    """Problems of ``variance`` and ``icc`` themselves."""
    problems = []
    for what, shares in (("variance", variance), ("icc", icc)):
        entries = shares if isinstance(shares, Mapping) else {} if shares is None else {"": shares}
        for name, value in entries.items():
            where, text = f"{what} of '{name}'" if name else what, ""
            if name and (wrong := name_problem(model, what, name)):
                text = f"{what}: {wrong}" if name not in model.variables else f"{where}: {wrong}"
            elif wrong := share_problem(what, value):
                text = f"{where}: {wrong}"
            if text:
                problems.append(Problem(f"{what}.{name}", text))
    return problems


def name_problem(model: TwoLevelModel, what: str, name: str) -> str:
    """Why a variable can have no entry in the table ``variance`` or ``icc``, or an empty string."""
    if name in model.variables:
        if what != "icc" or name in model.both:
            return ""
        level = "within" if name in model.level1 else "between"
        return f"'{name}' lives at the {level} level only, so it has no intraclass correlation"
    levels = [level for level in LEVELS if name in model.latents(level)]
    if levels:
        paths = " and ".join(f"'{level}: {name} ~~ {name}'" for level in levels)
        residual = "(residual) " if any(name in model.outcomes(level) for level in levels) else ""
        return f"'{name}' is a latent variable: give its {residual}variance as {paths}"
    return f"unknown variable '{name}'{did_you_mean(name, model.variables)}; allowed: {', '.join(model.variables)}"


def share_problem(what: str, value: float) -> str:
    """What is wrong with a ``variance`` or an ``icc``, or an empty string."""
    if what == "icc":
        return "" if 0.0 <= value < 1.0 else f"found {value:g}; allowed: at least 0 and below 1"
    return "" if value > 0.0 and math.isfinite(value) else f"found {value:g}; allowed: above 0"

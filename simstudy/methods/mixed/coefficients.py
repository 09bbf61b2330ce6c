"""Equations with random slopes, one an outcome: regressors, random coefficients, fits (Raudenbush & Bryk 2002).

A regressor is a level-1 variable (as it is, or less its cluster mean), a cluster mean, a level-2 variable, or the
product of a slope's predictor with one of the last two: a cross-level interaction. Cross-products of all of them follow
from those of the variables, cluster by cluster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simstudy.data.statistics import TwoLevelStatistics
from simstudy.estimation.result import Status
from simstudy.estimation.scoring import with_fallback
from simstudy.likelihood.mixed.random_coefficient import CoefficientData, RandomCoefficient
from simstudy.linalg import entrywise
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, columns, submatrix, transpose
from simstudy.methods.mixed.equations import Centring, Regression, level1_equations
from simstudy.model.fixed_slopes import fixed_part
from simstudy.model.slopes import RandomSlope
from simstudy.model.twolevel import TwoLevelModel

TOLERANCE = 1e-12
ZERO = 1e-7
"""A random coefficient's variance below this share of its start is on the boundary."""
AT_ONCE = 10_000
"""Clusters that are worked on together."""


@dataclass(frozen=True)
class RandomEquation:
    """A regression of one level-1 outcome with random coefficients: of the constant, if it varies, and then of slopes.

    Attributes
    ----------
    outcome : str
    targets : tuple of int tuples, length k
        For every regressor, the free parameters that its coefficient is reported for.
    within : (p1, r + k + 1)
        Deviations from cluster means of (random coefficients' regressors, regressors, outcome).
    between : (1 + p, r + k + 1)
        Their cluster means, as combinations of (1, cluster means of the variables).
    factor : (1 + p, r + k + 1)
        What both are multiplied by: 1, or the moderator of a cross-level interaction.
    r : int
    pattern : (r, r) of bool
        Which variances and covariances of random coefficients are estimated: unstructured blocks.
    variances : (r, r) of int
        Free parameters that they are, or -1.
    residual : int
        Free parameter of the residual variance, or -1.
    """

    outcome: str
    targets: tuple[tuple[int, ...], ...]
    within: FloatArray
    between: FloatArray
    factor: FloatArray
    r: int
    pattern: BoolArray
    variances: IntArray
    residual: int


def random_equations(model: TwoLevelModel, *, centring: Centring) -> list[RandomEquation] | str:
    """Equations of all level-1 outcomes of a model with random slopes, or the reason why there are none."""
    fixed = fixed_part(model)
    plain = level1_equations(fixed.model, centring=centring)
    if isinstance(plain, str):
        return plain
    back = {int(new): old for old, new in enumerate(fixed.index) if new >= 0}
    place1 = [model.level1.index(name) for name in fixed.model.level1]
    place = [1 + model.variables.index(name) for name in fixed.model.variables]
    built: list[RandomEquation] = []
    for equation in plain:
        k1, p = equation.within_map.shape[1], len(model.variables)
        within, between, factor = np.zeros((len(model.level1), k1)), np.zeros((1 + p, k1)), np.zeros((1 + p, k1))
        within[place1], between[place], factor[0] = equation.within_map, equation.between_map, 1.0
        if equation.intercept:
            between[0, 0] = 1.0
        between[0, -1] = -equation.offset
        targets = tuple(tuple(back[i] for i in target) for target in equation.targets)
        found = _with_slopes(model, equation.outcome, centring, targets, (within, between, factor))
        if isinstance(found, str):
            return found
        built.append(found)
    return _distinct(model, built)


def _with_slopes(
    model: TwoLevelModel,
    outcome: str,
    centring: Centring,
    targets: tuple[tuple[int, ...], ...],
    maps: tuple[FloatArray, FloatArray, FloatArray],
) -> RandomEquation | str:
    """Add interactions and random coefficients to an equation's regressors."""
    slopes = [slope for slope in model.slopes if slope.outcome == outcome]
    regressors = [_regressor(model, slope, centring) for slope in slopes]
    extra: list[tuple[FloatArray, FloatArray, FloatArray]] = []
    for slope, (inside, outside, one) in zip(slopes, regressors, strict=True):
        for row in model.table.at("between"):
            if row.op != "~" or row.lhs != slope.name:
                continue
            if row.rhs not in model.variables:
                return f"'{row.path}': a random slope with another random coefficient as predictor"
            if row.rhs in model.level1 and centring in ("none", "within"):
                return f"'{row.path}': cluster means are no predictors in this method"
            if row.free < 0:
                return f"'{row.path}' is fixed, which is not supported for a cross-level interaction"
            moderator = np.zeros_like(one)
            moderator[1 + model.variables.index(row.rhs)] = 1.0
            extra.append((inside, outside, moderator))
            targets = (*targets, (row.free,))
    bad = _paths_of_slopes(model, outcome, slopes)
    if bad is not None:
        return bad
    row0 = model.table.find("between", outcome, "~~", outcome)
    names = [slope.name for slope in slopes if _varies(model, slope.name)]
    random = [m for slope, m in zip(slopes, regressors, strict=True) if slope.name in names]
    if row0 is not None and not (row0.free < 0 and row0.value == 0.0):
        names.insert(0, outcome)
        constant = np.zeros(1 + len(model.variables))
        constant[0] = 1.0
        random.insert(0, (np.zeros(len(model.level1)), constant, constant))
    if not names:
        return f"nothing varies over clusters in the equation of '{outcome}'"
    structure = _structure(model, names)
    if isinstance(structure, str):
        return structure
    last = [m[:, -1] for m in maps]
    everything = [
        np.stack([*(m[i] for m in random), *maps[i][:, :-1].T, *(m[i] for m in extra), last[i]], axis=1)
        for i in range(3)
    ]
    residual = model.table.find("within", outcome, "~~", outcome)
    return RandomEquation(
        outcome, targets, everything[0], everything[1], everything[2], len(names), *structure,
        -1 if residual is None else residual.free,
    )  # fmt: skip


def _regressor(
    model: TwoLevelModel, slope: RandomSlope, centring: Centring
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A slope's predictor: as it is, or less its cluster mean."""
    within, between, one = (
        np.zeros(len(model.level1)),
        np.zeros(1 + len(model.variables)),
        np.zeros(1 + len(model.variables)),
    )
    at = model.level1.index(slope.predictor)
    within[at], one[0] = 1.0, 1.0
    if centring in ("none", "contextual"):
        between[1 + at] = 1.0
    return within, between, one


def _paths_of_slopes(model: TwoLevelModel, outcome: str, slopes: list[RandomSlope]) -> str | None:
    """Why paths from slopes to this outcome, or a measurement model of slopes, cannot be had."""
    names = {slope.name for slope in model.slopes}
    for row in model.table.at("between"):
        if row.op == "~" and row.rhs in names and row.lhs == outcome:
            return f"'{row.path}': a random slope as predictor of an outcome; msem and slopes_as_outcomes have that"
    return None


def _varies(model: TwoLevelModel, name: str) -> bool:
    row = model.table.find("between", name, "~~", name)
    return row is not None and not (row.free < 0 and row.value == 0.0)


def _structure(model: TwoLevelModel, names: list[str]) -> tuple[BoolArray, IntArray] | str:
    """Which (co)variances of random coefficients are estimated, and the parameters that they are."""
    r = len(names)
    pattern, index = np.zeros((r, r), dtype=bool), np.full((r, r), -1, dtype=np.int64)
    for i, first in enumerate(names):
        for j, second in enumerate(names):
            row = model.table.find("between", first, "~~", second)
            if row is None or (row.free < 0 and row.value == 0.0):
                continue
            if row.free < 0:
                return f"'{row.path}' is fixed at {row.value:g}; variances of random coefficients are free or 0"
            pattern[i, j], index[i, j] = True, row.free
    if not np.array_equal(pattern @ pattern > 0, pattern):
        return (
            "some but not all covariances of random coefficients of one outcome are free; mixed models have them in "
            "blocks that correlate freely"
        )
    lower = index[np.tril_indices(r)]
    if len(set(lower[lower >= 0])) < (lower >= 0).sum():
        return "a label ties variances of random coefficients, which mixed models estimate freely"
    return pattern, index


def _distinct(model: TwoLevelModel, equations: list[RandomEquation]) -> list[RandomEquation] | str:
    seen: dict[int, str] = {}
    for equation in equations:
        lower = equation.variances[np.tril_indices(equation.r)]
        mine = [i for target in equation.targets for i in target] + [int(i) for i in lower if i >= 0]
        mine += [equation.residual] if equation.residual >= 0 else []
        for index in mine:
            if index in seen:
                return f"'{model.names[index]}' ties coefficients that are estimated apart"
            seen[index] = equation.outcome
    return equations


def coefficient_data(equation: RandomEquation, statistics: TwoLevelStatistics) -> CoefficientData:
    """Cross-products of an equation's regressors in every cluster."""
    means, scatter = statistics.clusters()
    sizes = np.asarray(statistics.layout.sizes, dtype=np.float64)
    one = np.concatenate([np.ones((*means.shape[:2], 1)), means], axis=-1)
    factor = np.matmul(one, equation.factor)
    values = factor * np.matmul(one, equation.between)
    inside = np.matmul(np.matmul(equation.within.T, scatter), equation.within)
    products = inside * factor[..., :, None] * factor[..., None, :]
    products += sizes[:, None, None] * values[..., :, None] * values[..., None, :]
    r, last = equation.r, np.moveaxis(products, 1, -1)
    return CoefficientData(
        zz=np.ascontiguousarray(last[:, :r, :r]),
        zx=np.ascontiguousarray(last[:, :r, r:]),
        xx=np.ascontiguousarray(last[:, r:, r:]).sum(axis=-1),
        n_obs=int(sizes.sum()),
    )


def fit_random_equation(
    equation: RandomEquation, statistics: TwoLevelStatistics, *, reml: bool
) -> tuple[Regression, FloatArray]:
    """(Restricted) maximum likelihood; and whether a variance is on the boundary (R,), 0 or 1."""
    data, shift = _about_means(equation, coefficient_data(equation, statistics))
    lower = np.tril(equation.pattern)
    rows, cols = np.nonzero(lower)
    problem = RandomCoefficient(rows, cols, reml=reml)
    start = _start(data)[:, rows, cols]
    best = with_fallback(problem, data, (start, 3.0 * start, 0.3 * start), tolerance=TOLERANCE)
    found = problem.solution(best.params, data).moved(shift)
    diagonal = rows == cols
    low = np.abs(best.params[:, diagonal]) < np.sqrt(ZERO) * np.abs(start[:, diagonal])
    variances = np.diagonal(found.covariance, axis1=-2, axis2=-1)
    zero = variances < ZERO * found.sigma2[:, None] * start[:, diagonal] ** 2
    silent = zero[:, :, None] | zero[:, None, :]
    r, k = equation.r, found.beta.shape[1]
    flat = np.concatenate([silent.reshape(len(zero), -1), np.zeros((len(zero), 1), dtype=bool)], axis=1)
    spread = np.where(flat[:, :, None] | flat[:, None, :], np.nan, found.variance_cov)
    values = np.concatenate([found.beta, found.covariance.reshape(-1, r * r), found.sigma2[:, None]], axis=-1)
    cov = np.zeros((len(values), values.shape[1], values.shape[1]))
    cov[:, :k, :k], cov[:, k:, k:] = found.beta_cov, spread
    chosen = [(i, place) for place, target in enumerate(equation.targets) for i in target]
    chosen += [
        (int(equation.variances[i, j]), k + i * r + j)
        for i, j in zip(*np.nonzero(lower), strict=True)
        if equation.variances[i, j] >= 0
    ]
    chosen += [(equation.residual, k + r * r)] if equation.residual >= 0 else []
    index, at = (np.array(part, dtype=np.int64) for part in zip(*chosen, strict=True))
    status = np.where(found.ok | (best.status != int(Status.OK)), best.status, int(Status.SINGULAR_INFORMATION))
    part = Regression(index, columns(values, at), submatrix(cov, at, at), status, found.loglik, best.n_iter)
    return part, low.any(axis=1).astype(np.float64)


def _about_means(equation: RandomEquation, data: CoefficientData) -> tuple[CoefficientData, FloatArray]:
    """Random coefficients with the intercept at the regressors' means, and the matrices (R, r, r) that undo that.

    It makes the search independent of where the zero of a predictor lies. An intercept that does not correlate with
    the slopes stays where it is.
    """
    r = equation.r
    total = data.zz.sum(axis=-1)
    shift = np.broadcast_to(np.eye(r), total.shape).copy()
    constant = equation.between[0, 0] == 1.0 and not equation.within[:, 0].any()
    if r == 1 or not constant or not equation.pattern[0].all():
        return data, shift
    shift[:, 0, 1:] = -total[:, 0, 1:] / total[:, 0, :1]
    turned, column = np.ascontiguousarray(transpose(shift)), shift[..., None]
    zz = entrywise.product(turned[..., None], entrywise.product(data.zz, column))
    return replace(data, zz=zz, zx=entrywise.product(turned[..., None], data.zx)), shift


def _start(data: CoefficientData) -> FloatArray:
    """L (R, r, r) of random coefficients that each explain as much as a fifth of the residual variance."""
    total = data.zz.sum(axis=-1)
    scale = np.sqrt(0.2 * data.n_obs / np.diagonal(total, axis1=-2, axis2=-1))
    return np.asarray(scale[:, :, None] * np.eye(total.shape[-1]))

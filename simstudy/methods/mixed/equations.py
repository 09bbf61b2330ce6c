"""Equation-by-equation methods: which regressions they run, and how the results become one.

Every regression is described by two constant matrices that map the model's variables to (regressors, outcome): one for
deviations from cluster means, one for cluster means. Uncentred, centred and aggregated predictors differ in nothing
else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from simstudy.data.statistics import TwoLevelStatistics, total_scatter
from simstudy.estimation.result import FitResult, Status
from simstudy.likelihood.mixed.random_intercept import Moments, RandomIntercept, fit_random_intercept
from simstudy.linalg.stacked import FloatArray, IntArray, columns, inverse_spd, matvec, submatrix, transpose
from simstudy.model.parameters import Parameter
from simstudy.model.twolevel import TwoLevelModel

Centring = Literal["none", "cluster", "contextual", "within"]
"""What becomes of a level-1 predictor: as it is (one slope for both levels); deviations from cluster means, and cluster
means; as it is, and cluster means; deviations alone."""


@dataclass(frozen=True)
class Equation:
    """A regression of one outcome.

    Attributes
    ----------
    outcome : str
    targets : tuple of int tuples, length k
        For every regressor (the constant first, if there is one), the free parameters that its slope is reported for.
    within_map : (p1, k + 1)
        Deviations of (regressors, outcome) from cluster means, as combinations of the level-1 variables'.
    between_map : (p, k + 1)
        Cluster means of (regressors, outcome), apart from the constant.
    intercept : bool
        Whether the first regressor is the constant.
    offset : float
        Fixed intercept, subtracted from the outcome.
    within_variance, between_variance : int
        Free parameters of the residual variances, or -1.
    has_between : bool
        Whether the outcome has a between part (tau^2 is not fixed at 0).
    """

    outcome: str
    targets: tuple[tuple[int, ...], ...]
    within_map: FloatArray
    between_map: FloatArray
    intercept: bool
    offset: float
    within_variance: int
    between_variance: int
    has_between: bool = True


@dataclass
class _Column:
    """A regressor under construction."""

    within: FloatArray
    between: FloatArray
    free: set[int] = field(default_factory=set)
    fixed: set[float] = field(default_factory=set)


def level1_equations(model: TwoLevelModel, *, centring: Centring) -> list[Equation] | str:
    """Random-intercept regressions of the level-1 outcomes.

    Parameters
    ----------
    centring : str
        ``none``: predictors as they are, one slope reported for both levels. ``cluster``: deviations from cluster means
        for the within block's predictors, and cluster means for those of the between block. ``contextual``: the same,
        in the coordinates (x, cluster mean); a predictor of the within block alone enters as it is. ``within``:
        deviations alone, so that nothing is said about between slopes of level-1 predictors.

    Returns
    -------
    list of Equation, or the reason (str) why there are none.
    """
    outcomes = [y for y in model.level1 if y in model.outcomes("within") or y in model.outcomes("between")]
    return _equations(model, outcomes, centring)


def level2_equations(model: TwoLevelModel) -> list[Equation] | str:
    """Regressions of the level-2 outcomes on cluster means and level-2 variables."""
    return _equations(model, [z for z in model.level2 if z in model.outcomes("between")], "cluster")


def _equations(model: TwoLevelModel, outcomes: list[str], centring: Centring) -> list[Equation] | str:
    if model.latents("within") or model.latents("between"):
        return "latent variables cannot be expressed in a regression"
    built = []
    for outcome in outcomes:
        equation = _equation(model, outcome, centring)
        if isinstance(equation, str):
            return equation
        built.append(equation)
    seen: dict[int, str] = {}
    for equation in built:
        mine = [i for target in equation.targets for i in target]
        mine += [i for i in (equation.within_variance, equation.between_variance) if i >= 0]
        for index in mine:
            if seen.setdefault(index, equation.outcome) != equation.outcome:
                return f"'{model.names[index]}' ties coefficients of different equations, which are fitted one by one"
        if len(set(mine)) < len(mine):
            return f"a label ties a residual variance of '{equation.outcome}' to another parameter"
    return built


def _equation(model: TwoLevelModel, outcome: str, centring: Centring) -> Equation | str:
    p1, p = len(model.level1), len(model.variables)
    found: dict[tuple[str, str], _Column] = {}
    for row in model.table.rows:
        if row.op != "~" or row.lhs != outcome:
            continue
        kind = _kind(model, row, centring)
        if kind == "out":
            continue
        at = model.variables.index(row.rhs)
        within, between = np.zeros(p1), np.zeros(p)
        if at < p1 and kind != "between":
            within[at] = 1.0
        if kind != "within":
            between[at] = 1.0
        column = found.setdefault((row.rhs, kind), _Column(within, between))
        if row.free >= 0:
            column.free.add(row.free)
        else:
            column.fixed.add(row.value)
    merged = _merge(list(found.values()))
    y_within, y_between = np.zeros(p1), np.zeros(p)
    at = model.variables.index(outcome)
    y_between[at] = 1.0
    if at < p1:
        y_within[at] = 1.0
    free: list[_Column] = []
    for column in merged:
        if column.free:
            free.append(column)
            continue
        if len(column.fixed) > 1:
            return f"a path to '{outcome}' is fixed at different values at the two levels"
        y_within -= next(iter(column.fixed)) * column.within
        y_between -= next(iter(column.fixed)) * column.between
    constant = _intercept(model, outcome)
    targets = [tuple(sorted(column.free)) for column in free]
    has_constant = constant is None or constant.free >= 0
    if has_constant:
        targets.insert(0, (constant.free,) if constant is not None else ())
    zero1, zero = [np.zeros(p1)] * has_constant, [np.zeros(p)] * has_constant
    within_row = model.table.find("within", outcome, "~~", outcome)
    between_row = model.table.find("between", outcome, "~~", outcome)
    return Equation(
        outcome=outcome,
        targets=tuple(targets),
        within_map=np.stack([*zero1, *(c.within for c in free), y_within], axis=1),
        between_map=np.stack([*zero, *(c.between for c in free), y_between], axis=1),
        intercept=has_constant,
        offset=0.0 if has_constant or constant is None else constant.value,
        within_variance=-1 if within_row is None else within_row.free,
        between_variance=-1 if between_row is None else between_row.free,
        has_between=between_row is not None,
    )


def _kind(model: TwoLevelModel, row: Parameter, centring: Centring) -> str:
    """How a path's predictor enters: ``raw``, ``within`` (deviations), ``between`` (cluster means) or ``out``."""
    if centring == "none" or row.rhs not in model.level1:
        return "raw"
    if centring == "within":
        return "within" if row.level == "within" else "out"
    if centring == "contextual" and row.level == "within":
        # with x and its mean, slopes w and c: w for deviations and w + c for means, so that the centred form serves
        return "within" if model.table.find("between", row.lhs, "~", row.rhs) is not None else "raw"
    return row.level


def _merge(regressors: list[_Column]) -> list[_Column]:
    """Add up regressors that share a free parameter (equal labels)."""
    merged: list[_Column] = []
    for column in regressors:
        for other in merged:
            if other.free & column.free:
                other.within = other.within + column.within
                other.between = other.between + column.between
                other.free |= column.free
                break
        else:
            merged.append(column)
    return merged


def _intercept(model: TwoLevelModel, outcome: str) -> Parameter | None:
    for level in ("between", "within"):
        row = model.table.find(level, outcome, "~1", "")
        if row is not None and (level == "between" or row.free >= 0):
            return row
    return None


@dataclass(frozen=True)
class Regression:
    """What an equation's fit contributes: values and covariance of the free parameters in ``index``."""

    index: IntArray
    estimate: FloatArray
    covariance: FloatArray
    status: IntArray
    loglik: FloatArray
    n_iter: IntArray


def fit_level1(equation: Equation, statistics: TwoLevelStatistics, *, reml: bool) -> Regression:
    """Random-intercept regression by profile (restricted) likelihood."""
    moments, shift = equation_moments(equation, statistics)
    fit = fit_random_intercept(moments, reml=reml, tau_free=equation.has_between)
    beta, beta_cov = _uncentre(equation, fit.beta, fit.beta_cov, shift)
    values = [beta]
    places = [i for i, target in enumerate(equation.targets) for _ in target]
    index = [i for target in equation.targets for i in target]
    n, k = beta.shape
    cov = np.zeros((n, k + 2, k + 2))
    cov[:, :k, :k] = beta_cov
    cov[:, k:, k:] = fit.variance_cov
    values.append(np.stack([fit.sigma2, fit.tau2], axis=-1))
    for place, target in ((k, equation.within_variance), (k + 1, equation.between_variance)):
        if target >= 0:
            places.append(place)
            index.append(target)
    return _regression(index, places, np.concatenate(values, axis=-1), cov, fit)


def _regression(
    index: list[int], places: list[int], values: FloatArray, cov: FloatArray, fit: RandomIntercept
) -> Regression:
    at = np.array(places, dtype=np.int64)
    status = np.where(fit.ok, np.where(fit.converged, Status.OK, Status.MAX_ITER), Status.SINGULAR_INFORMATION)
    return Regression(
        index=np.array(index, dtype=np.int64),
        estimate=columns(values, at),
        covariance=submatrix(cov, at, at),
        status=status.astype(np.int64),
        loglik=fit.loglik,
        n_iter=fit.n_iter,
    )


def equation_moments(
    equation: Equation,
    statistics: TwoLevelStatistics,
    means: FloatArray | None = None,
    scatter: FloatArray | None = None,
) -> tuple[Moments, FloatArray]:
    """Cross-products of (regressors, outcome), about their grand means (R, k1), which are returned too.

    ``means`` (R, S, p) and ``scatter`` (R, S, p, p) replace those of the statistics (empirical-Bayes means).
    """
    layout = statistics.layout
    counts = layout.counts.astype(float)
    means = statistics.size_means if means is None else means
    scatter = statistics.size_scatter if scatter is None else scatter
    t = equation.between_map
    means = np.matmul(means, t)
    scatter = np.matmul(np.matmul(t.T, scatter), t)
    if equation.offset:
        means = means.copy()
        means[..., -1] -= equation.offset
    weights = layout.distinct * counts
    shift = np.matmul(weights / weights.sum(), means) if equation.intercept else np.zeros((len(means), t.shape[1]))
    offset = means - shift[:, None, :]
    if equation.intercept:
        offset[..., 0] = 1.0
    between = scatter + counts[:, None, None] * offset[..., :, None] * offset[..., None, :]
    w = equation.within_map
    within = np.matmul(np.matmul(w.T, statistics.scatter_within), w)
    return Moments(within, between, layout.distinct.astype(float), counts), shift


def uncentring(equation: Equation, shift: FloatArray) -> FloatArray:
    """Matrices (R, k, k) that move the intercept from the grand means ``shift`` (R, k + 1) back to the origin."""
    n, k = len(shift), len(equation.targets)
    move = np.broadcast_to(np.eye(k), (n, k, k)).copy()
    if equation.intercept:
        move[:, 0, 1:] = -shift[:, 1:k]
    return move


def _uncentre(
    equation: Equation, beta: FloatArray, cov: FloatArray, shift: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Coefficients and their covariance, moved from the grand means back to the origin."""
    if not equation.intercept:
        return beta, cov
    move = uncentring(equation, shift)
    beta = matvec(move, beta)
    beta[:, 0] += shift[:, -1]
    return beta, np.matmul(np.matmul(move, cov), transpose(move))


def fit_level2(equation: Equation, statistics: TwoLevelStatistics, shrinkage: FloatArray | None) -> Regression:
    """Ordinary least squares on J clusters, with s^2 on J - k degrees of freedom.

    Parameters
    ----------
    shrinkage : (R, S, p) or None
        Factors that turn observed into empirical-Bayes cluster means.
    """
    means, scatter = statistics.size_means, statistics.size_scatter
    if shrinkage is not None:
        counts = statistics.layout.counts.astype(float)
        grand, _ = total_scatter(scatter, means, counts * statistics.layout.distinct)
        means = grand[:, None, :] + shrinkage * (means - grand[:, None, :])
        scatter = scatter * shrinkage[..., :, None] * shrinkage[..., None, :]
    moments, shift = equation_moments(equation, statistics, means, scatter)
    return _least_squares(equation, moments.between.sum(axis=1), shift, statistics.layout.n_clusters)


def _least_squares(equation: Equation, products: FloatArray, shift: FloatArray, n_units: int) -> Regression:
    k = products.shape[-1] - 1
    inner, ok = inverse_spd(products[:, :k, :k])
    inner = np.where(ok[:, None, None], inner, np.nan)
    beta = matvec(inner, products[:, :k, k])
    with np.errstate(invalid="ignore"):
        rss = products[:, k, k] - (beta * products[:, :k, k]).sum(axis=-1)
    s2 = rss / (n_units - k)
    beta, cov_beta = _uncentre(equation, beta, s2[:, None, None] * inner, shift)
    cov = np.zeros((len(beta), k + 1, k + 1))
    cov[:, :k, :k] = cov_beta
    cov[:, k, k] = 2.0 * s2**2 / (n_units - k)
    places = [i for i, target in enumerate(equation.targets) for _ in target]
    index = [i for target in equation.targets for i in target]
    if equation.between_variance >= 0:
        places.append(k)
        index.append(equation.between_variance)
    at = np.array(places, dtype=np.int64)
    values = np.concatenate([beta, s2[:, None]], axis=-1)
    with np.errstate(all="ignore"):
        loglik = -0.5 * n_units * (np.log(2 * np.pi * rss / n_units) + 1.0)
    return Regression(
        index=np.array(index, dtype=np.int64),
        estimate=columns(values, at),
        covariance=submatrix(cov, at, at),
        status=np.where(ok, Status.OK, Status.SINGULAR_INFORMATION).astype(np.int64),
        loglik=loglik,
        n_iter=np.zeros(len(beta), dtype=np.int64),
    )


def combine(model: TwoLevelModel, parts: list[Regression], kind: str) -> FitResult:
    """One result from regressions fitted one by one; estimates of different equations count as uncorrelated."""
    n, q = len(parts[0].estimate), len(model.names)
    estimate = np.full((n, q), np.nan)
    spoken = np.zeros(q, dtype=bool)
    for part in parts:
        spoken[part.index] = True
        estimate[:, part.index] = part.estimate
    covariance = np.where(spoken[:, None] & spoken, 0.0, np.nan) * np.ones((n, 1, 1))
    for part in parts:
        covariance[:, part.index[:, None], part.index] = part.covariance
    return FitResult(
        labels=model.names,
        estimate=estimate,
        covariance={kind: covariance},
        status=np.max(np.stack([part.status for part in parts]), axis=0),
        admissible=np.ones(n, dtype=bool),
        n_iter=np.stack([part.n_iter for part in parts]).sum(axis=0),
        loglik=np.stack([part.loglik for part in parts]).sum(axis=0),
    ).blank_failures()

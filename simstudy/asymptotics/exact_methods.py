"""Which parameters of which methods have exact finite-sample numbers, and these numbers.

Balanced clusters, complete normal data, and estimates that are least squares, equation by equation:

- `aggregated`: recursive path models of cluster means (B2);
- the centred MLMs, `two_step`, and `mlm` for level-2 predictors: within and between parts of a regression decouple, so
  that the between slopes are least squares on cluster means whatever the variance components (B3);
- `disaggregated`: level-2 predictors (B5a).

With any sizes: mean and variance of within slopes (B3); the mean of the only slope of an equation of `disaggregated`
(B1) and `aggregated` (B2). For `msem` and the two-matrix methods that correct for Sigma_W, saturated and balanced:
P(negative between variance) of exogenous variables (F6).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simstudy.asymptotics.exact import (
    Components,
    Regression,
    SlopeLaw,
    mean_slope,
    naive_spread,
    negative_variance,
    residual_spread,
)
from simstudy.linalg.stacked import FloatArray
from simstudy.methods.mixed.equations import Centring, Equation, level1_equations, level2_equations
from simstudy.methods.mixed.mlm import RandomIntercepts
from simstudy.methods.one_level.aggregated import Aggregated
from simstudy.methods.one_level.disaggregated import Disaggregated
from simstudy.methods.protocol import Estimator
from simstudy.methods.two_step import TwoStep
from simstudy.model.parameters import Parameter
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population

EXPECTED = "expected"
CORRECTED = ("msem", "schmidt", "muml", "goldstein")
"""Methods that take Sigma_within / n out of the cluster means: the same estimates where balanced and saturated."""


@dataclass(frozen=True)
class ExactNumber:
    """One exact number; ``se_kind`` is empty where it holds for all kinds."""

    parameter: str
    se_kind: str
    measure: str
    value: float


def exact_numbers(
    estimator: Estimator, model: TwoLevelModel, population: Population, level: float
) -> tuple[ExactNumber, ...]:
    """Every exact number of a method in a population; none for methods and models without closed forms."""
    if not population.normal or population.has_missing or model.table.constraints:
        return ()
    if model.latents("within") or model.latents("between"):
        return ()
    if not set(model.variables) <= set(population.model.variables):
        return ()
    world = _World(model, population)
    found: Iterator[tuple[Sequence[int], SlopeLaw | float]]
    if isinstance(estimator, Aggregated):
        found = _aggregated(world)
    elif isinstance(estimator, Disaggregated):
        found = _disaggregated(world)
    elif isinstance(estimator, RandomIntercepts):
        found = _random_intercepts(world, centring=estimator.centring, likelihood=estimator.likelihood)
    elif isinstance(estimator, TwoStep):
        found = _two_step(world, estimator)
    elif estimator.name in CORRECTED:
        return tuple(_negative_variances(world, unbiased=vars(estimator).get("divisor") == "J-1"))
    else:
        return ()
    truth = population.truth(model)
    return tuple(
        number for free, law in found for i in free for number in _numbers(model.names[i], law, truth[i], level)
    )


def _numbers(name: str, law: SlopeLaw | float, truth: float, level: float) -> Iterator[ExactNumber]:
    if isinstance(law, float):  # a mean alone
        law = SlopeLaw(law, np.nan, 0)
        kept = ("mean_estimate", "bias", "relative_bias")
        yield from (ExactNumber(name, "", k, v) for k, v in law.of_estimate(truth).items() if k in kept)
        return
    yield from (ExactNumber(name, "", measure, value) for measure, value in law.of_estimate(truth).items())
    yield from (ExactNumber(name, EXPECTED, k, value) for k, value in law.of_interval(truth, level).items())


class _World:
    """A population in the order of the analysed model's variables."""

    def __init__(self, model: TwoLevelModel, population: Population) -> None:
        self.model, self.layout = model, population.layout
        m = population.moments
        names = m.level1 + m.level2
        at = np.array([names.index(name) for name in model.variables])
        self.p1 = len(model.level1)
        self.between: FloatArray = m.sigma_between[np.ix_(at, at)]
        self.within: FloatArray = np.zeros_like(self.between)
        first = np.array([m.level1.index(name) if name in m.level1 else -1 for name in model.level1])
        self.same_levels = bool((first >= 0).all()) and all(name in m.level2 for name in model.level2)
        if self.same_levels:
            self.within[: self.p1, : self.p1] = m.sigma_within[np.ix_(first, first)]

    @property
    def n(self) -> int:
        """Cluster size, if balanced."""
        return int(self.layout.distinct[0])

    def of_means(self, n: float) -> FloatArray:
        """Covariance matrix of cluster means and level-2 variables (p, p)."""
        return self.between + self.within / n


# ----------------------------------------------------------------------------------------------- single-level methods


@dataclass(frozen=True)
class _Path:
    """An equation of a single-level path model: outcome, predictors, and the parameters each slope is reported for."""

    outcome: int
    predictors: tuple[int, ...]
    free: tuple[tuple[int, ...], ...]


def _path_equations(model: TwoLevelModel, rows: Sequence[Parameter], *, merged: bool) -> list[_Path] | None:
    """Equations of a recursive path model whose ML estimates are least squares; None if they are not."""
    by_key: dict[tuple[str, str, str], list[Parameter]] = {}
    for row in rows:
        by_key.setdefault(row.key, []).append(row)
    owners: dict[int, set[tuple[str, str, str]]] = {}
    for key, same in by_key.items():
        for row in same:
            if row.free >= 0:
                owners.setdefault(row.free, set()).add(key)
    if any(len(keys) > 1 for keys in owners.values()):
        return None
    outcomes = dict.fromkeys(lhs for lhs, op, _ in by_key if op == "~")
    joined = {frozenset((lhs, rhs)) for lhs, op, rhs in by_key if op == "~"}
    for (lhs, op, rhs), same in by_key.items():
        fixed = all(row.free < 0 for row in same)
        if op == "~" and any(row.free < 0 for row in same):
            return None
        if op == "~~" and lhs == rhs and fixed:
            return None
        residual = op == "~~" and lhs != rhs and (lhs in outcomes or rhs in outcomes)
        dropped = merged and frozenset((lhs, rhs)) in joined  # covariances that `merged_model` leaves out
        if residual and not dropped and not (fixed and all(row.value == 0.0 for row in same)):
            return None
    found = []
    for outcome in outcomes:
        if not any(row.free >= 0 for row in by_key.get((outcome, "~1", ""), [])):
            return None
        slopes = {key[2]: same for key, same in by_key.items() if key[:2] == (outcome, "~")}
        found.append(
            _Path(
                model.variables.index(outcome),
                tuple(model.variables.index(name) for name in slopes),
                tuple(tuple(sorted({row.free for row in same})) for same in slopes.values()),
            )
        )
    return found if _recursive(found) else None


def _recursive(equations: Sequence[_Path]) -> bool:
    known = {equation.outcome for equation in equations}
    left = list(equations)
    while left:
        ready = [e for e in left if not set(e.predictors) & known]
        if not ready:
            return False
        known -= {e.outcome for e in ready}
        left = [e for e in left if e.outcome in known]
    return True


def _regression(cov: FloatArray, predictors: Sequence[int], outcome: int) -> Regression:
    at = np.array([*predictors, outcome])
    return Regression(cov[np.ix_(at, at)])


def _aggregated(world: _World) -> Iterator[tuple[Sequence[int], SlopeLaw | float]]:
    rows = world.model.table.at("between")
    equations = _path_equations(world.model, rows, merged=False)
    if equations is None or not world.same_levels:
        return
    n_clusters, names = world.layout.n_clusters, {row.lhs for row in rows}
    free = {row.free for row in rows if row.op in ("~", "~~") and row.free >= 0}
    saturated = len(free) == len(names) * (len(names) + 1) // 2
    for equation in equations:
        if not world.layout.balanced:
            yield from _single_slope(world, equation, rows=False)
            continue
        regression = _regression(world.of_means(world.n), equation.predictors, equation.outcome)
        df = n_clusters - 1 - regression.k
        if not regression.usable or df < 1:
            continue
        # the expected information has the implied moments of the predictors: the observed ones in a saturated model
        spread = residual_spread(df, n_clusters) if saturated else None
        for j, target in enumerate(equation.free):
            yield target, regression.law(j, n_clusters - 1, spread)


def _disaggregated(world: _World) -> Iterator[tuple[Sequence[int], SlopeLaw | float]]:
    equations = _path_equations(world.model, world.model.table.rows, merged=True)
    if equations is None or not world.same_levels:
        return
    layout = world.layout
    for equation in equations:
        level2_only = all(at >= world.p1 for at in equation.predictors)
        if not (layout.balanced and level2_only):
            yield from _single_slope(world, equation, rows=True)
            continue
        regression = _regression(world.of_means(world.n), equation.predictors, equation.outcome)
        if not regression.usable or layout.n_clusters - 1 - regression.k < 1:
            continue
        inside = float(world.within[equation.outcome, equation.outcome])
        # with several predictors the implied moments may differ from the observed ones (see `_aggregated`)
        spread = (
            naive_spread(regression.residual, inside, world.n, layout.n_clusters, regression.k)
            if regression.k == 1
            else None
        )
        for j, target in enumerate(equation.free):
            yield target, regression.law(j, layout.n_clusters - 1, spread)


def _single_slope(world: _World, equation: _Path, *, rows: bool) -> Iterator[tuple[Sequence[int], float]]:
    """Exact mean of the only slope of an equation."""
    layout = world.layout
    if len(equation.predictors) != 1:
        return
    x, y = equation.predictors[0], equation.outcome
    sizes, counts = layout.distinct.astype(float), layout.counts.astype(float)
    variance = world.between[x, x] + world.within[x, x] / sizes
    if not np.all(variance > 0):
        return
    slopes = (world.between[x, y] + world.within[x, y] / sizes) / variance
    inside = float(world.within[x, x])
    df = layout.n_obs - layout.n_clusters if rows and inside > 0 else 0
    slope_within = float(world.within[x, y] / inside) if inside > 0 else 0.0
    weights = sizes if rows else np.ones_like(sizes)
    yield equation.free[0], mean_slope(counts, weights, variance, slopes, (inside, slope_within, df))


# --------------------------------------------------------------------------------------- random-intercept regressions


def _random_intercepts(
    world: _World, *, centring: Centring, likelihood: str
) -> Iterator[tuple[Sequence[int], SlopeLaw | float]]:
    equations = level1_equations(world.model, centring=centring)
    if isinstance(equations, str) or not world.same_levels:
        return
    for equation in equations:
        yield from _decoupled(world, equation, reml=likelihood == "reml")


def _decoupled(world: _World, equation: Equation, *, reml: bool) -> Iterator[tuple[Sequence[int], SlopeLaw | float]]:
    """Slopes of a random-intercept regression without a regressor that varies at both levels."""
    if not equation.intercept or not equation.has_between:
        return
    to_within, to_between = equation.within_map[:, 1:], equation.between_map[:, 1:]
    inside, outside = (to_within != 0).any(axis=0)[:-1], (to_between != 0).any(axis=0)[:-1]
    if (inside & outside).any() or not (to_within[:, -1] != 0).any():
        return
    layout, p1 = world.layout, world.p1
    n_clusters, df = layout.n_clusters, layout.n_obs - layout.n_clusters
    first, second = np.flatnonzero(inside), np.flatnonzero(outside)
    k = len(inside)
    within = to_within.T @ world.within[:p1, :p1] @ to_within
    part_within = _regression(within, first.tolist(), k)
    df_within = df - part_within.k
    spreads: tuple[Any, Any] = (None, None)
    part_between: Regression | None = None
    if layout.balanced:
        part_between = _regression(to_between.T @ world.of_means(world.n) @ to_between, second.tolist(), k)
        df_between = n_clusters - 1 - part_between.k
        if df_between < 1 or df_within < 1 or not (part_between.k == 0 or part_between.usable):
            return
        sigma2 = part_within.residual if part_within.k else float(within[k, k])
        components = Components(
            between=world.n * (part_between.residual if part_between.k else float(part_between.cov[-1, -1])),
            within=sigma2,
            df_between=df_between,
            df_within=df_within,
            divisor_between=df_between if reml else n_clusters,
            divisor_within=df_within if reml else df,
        )
        spreads = components.spreads()
    if part_within.usable and df_within >= 1:
        for j, column in enumerate(first.tolist()):
            yield equation.targets[1 + column], part_within.law(j, df, spreads[1])
    if part_between is not None and part_between.usable:
        for j, column in enumerate(second.tolist()):
            yield equation.targets[1 + column], part_between.law(j, n_clusters - 1, spreads[0])


def _two_step(world: _World, estimator: TwoStep) -> Iterator[tuple[Sequence[int], SlopeLaw | float]]:
    centring: Centring = "cluster" if estimator.centering == "cluster" else "none"
    yield from _random_intercepts(world, centring=centring, likelihood=estimator.likelihood)
    equations = level2_equations(world.model)
    if (
        isinstance(equations, str)
        or not world.same_levels
        or not world.layout.balanced
        or estimator.means != "observed"
    ):
        return
    for equation in equations:
        if not equation.intercept:
            continue
        to_between = equation.between_map[:, 1:]
        cov = to_between.T @ world.of_means(world.n) @ to_between
        regression = Regression(cov)
        df = world.layout.n_clusters - 1 - regression.k
        if not regression.usable or df < 1:
            continue
        for j in range(regression.k):
            law = regression.law(j, world.layout.n_clusters - 1, residual_spread(df, df))
            yield equation.targets[1 + j], law


# --------------------------------------------------------------------------------------------------------------- msem


def _negative_variances(world: _World, *, unbiased: bool) -> Iterator[ExactNumber]:
    """P(between variance <= 0) of exogenous variables of both levels, where the model is saturated and balanced."""
    model, p, p1 = world.model, len(world.model.variables), world.p1
    free = {row.free for row in model.table.rows if row.op in ("~", "~~") and row.free >= 0}
    if not (world.layout.balanced and world.same_levels) or len(free) != p1 * (p1 + 1) // 2 + p * (p + 1) // 2:
        return
    outcomes = model.outcomes("between")
    for name in model.both:
        row = model.table.find("between", name, "~~", name)
        if name in outcomes or row is None or row.free < 0:
            continue
        at = model.variables.index(name)
        between, within = float(world.between[at, at]), float(world.within[at, at])
        value = negative_variance(between, within, world.n, world.layout.n_clusters, unbiased=unbiased)
        yield ExactNumber(model.names[row.free], "", NEGATIVE, value)


NEGATIVE = "negative_variance"
"""Measure: P(estimate of a variance <= 0)."""

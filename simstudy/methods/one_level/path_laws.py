"""Exact laws of the slopes of recursive path models on cluster means and on rows (theory B1, B2, B5a)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simstudy.estimation.exact_laws import mean_slope, naive_spread, residual_spread
from simstudy.methods.closed_forms import Laws, World, regression_of
from simstudy.model.parameters import Parameter
from simstudy.model.twolevel import TwoLevelModel


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


def means_laws(world: World) -> Laws:
    """Slopes of a path model on cluster means (B2)."""
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
        regression = regression_of(world.of_means(world.n), equation.predictors, equation.outcome)
        df = n_clusters - 1 - regression.k
        if not regression.usable or df < 1:
            continue
        # the expected information has the implied moments of the predictors: the observed ones in a saturated model
        spread = residual_spread(df, n_clusters) if saturated else None
        for j, target in enumerate(equation.free):
            yield target, regression.law(j, n_clusters - 1, spread)


def rows_laws(world: World) -> Laws:
    """Slopes of a path model on rows: of level-2 predictors (B5a), and the mean of an equation's only slope (B1)."""
    equations = _path_equations(world.model, world.model.table.rows, merged=True)
    if equations is None or not world.same_levels:
        return
    layout = world.layout
    for equation in equations:
        level2_only = all(at >= world.p1 for at in equation.predictors)
        if not (layout.balanced and level2_only):
            yield from _single_slope(world, equation, rows=True)
            continue
        regression = regression_of(world.of_means(world.n), equation.predictors, equation.outcome)
        if not regression.usable or layout.n_clusters - 1 - regression.k < 1:
            continue
        inside = float(world.within[equation.outcome, equation.outcome])
        # with several predictors the implied moments may differ from the observed ones (see `means_laws`)
        spread = (
            naive_spread(regression.residual, inside, world.n, layout.n_clusters, regression.k)
            if regression.k == 1
            else None
        )
        for j, target in enumerate(equation.free):
            yield target, regression.law(j, layout.n_clusters - 1, spread)


def _single_slope(world: World, equation: _Path, *, rows: bool) -> Laws:
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

"""Exact laws of the slopes of random-intercept regressions, and of least squares on cluster means (theory B3, B4, B7).

Within and between parts of a regression without a regressor that varies at both levels decouple, so that the between
slopes are least squares on cluster means whatever the variance components. With any sizes: mean and variance of within
slopes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simstudy.estimation.exact_laws import Components, Regression, residual_spread
from simstudy.methods.closed_forms import Laws, World, regression_of
from simstudy.methods.mixed.equations import Centring, Equation, level1_equations, level2_equations


def random_intercept_laws(world: World, *, centring: Centring, likelihood: str) -> Laws:
    """Slopes of level-1 outcomes by random-intercept regressions (B3)."""
    equations = level1_equations(world.model, centring=centring)
    if isinstance(equations, str) or not world.same_levels:
        return
    for equation in equations:
        yield from _decoupled(world, equation, reml=likelihood == "reml")


def _decoupled(world: World, equation: Equation, *, reml: bool) -> Laws:
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
    part_within = regression_of(within, first.tolist(), k)
    df_within = df - part_within.k
    spreads: tuple[Any, Any] = (None, None)
    part_between: Regression | None = None
    if layout.balanced:
        part_between = regression_of(to_between.T @ world.of_means(world.n) @ to_between, second.tolist(), k)
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


def cluster_mean_laws(world: World) -> Laws:
    """Slopes of level-2 outcomes by least squares on observed cluster means (B7)."""
    equations = level2_equations(world.model)
    if isinstance(equations, str) or not world.same_levels or not world.layout.balanced:
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

"""Intervals of ``:=`` parameters when the estimates are normal and the function is not linear (theory C12).

The free parameters' estimates are taken as N(limit, covariance / J) and the reported covariance as constant; the
function itself, its delta-method SE and the quantiles of a Monte Carlo interval are exact. Integration is over a fixed
scrambled Sobol sequence, so that numbers repeat; errors are about .001.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import ndtri

from simstudy.asymptotics.result import Asymptotics
from simstudy.linalg.psd import psd_factor
from simstudy.linalg.stacked import FloatArray, IntArray, matvec
from simstudy.linalg.wald_intervals import quantile
from simstudy.model.estimands import Estimands

OUTER, INNER = 1024, 1024
WIDTHS = 64
"""Estimates at which the width of a Monte Carlo interval is computed: it varies little."""

LINEAR = 1e-9
"""Relative change of gradients below which functions are linear: there is nothing to integrate."""

Numbers = dict[str, dict[str, float]]
"""``:=`` parameter -> measure -> value."""


@lru_cache(maxsize=16)
def _normals(dimension: int, count: int, seed: int) -> FloatArray:
    """Standard normal points (count, dimension), evenly spread."""
    from scipy.stats import qmc  # a second to import

    points: FloatArray = ndtri(qmc.Sobol(dimension, seed=np.random.default_rng(seed)).random(count))
    return points


def wald_by_draws(found: Asymptotics, estimands: Estimands, kind: str, level: float, n_clusters: int) -> Numbers:
    """SD and SEs of ``:=`` parameters, and coverage and rejection of their Wald intervals, with J clusters.

    SEs vary with the estimate, at which the function is differentiated. Linear functions have nothing to integrate and
    are left out.
    """
    usable = _usable(found, estimands, kind)
    if usable is None:
        return {}
    q, used = len(estimands.names), estimands.used
    truth = found.truth[q:]
    reported = np.nan_to_num(found.reported[kind][:q, :q]) / n_clusters
    with np.errstate(all="ignore"):
        few = estimands.jacobian(found.limit[:q] + np.outer([-1.0, 0.5, 1.0], found.se(n_clusters)[:q]))
        few = np.nan_to_num(few)
        linear = np.ptp(few, axis=0).max(axis=-1) <= LINEAR * np.abs(few).max(axis=(0, 2))
        if linear.all():
            return {}
        points = _estimates(found, used, n_clusters, 4 * OUTER, q)
        value, gradient = estimands.evaluate(points), np.nan_to_num(estimands.jacobian(points))
        se = np.sqrt((np.matmul(gradient, reported) * gradient).sum(axis=-1))
        half = quantile(level) * se
        covers = np.where(np.isfinite(truth), (np.abs(value - truth) <= half).mean(axis=0), np.nan)
        rejects, spread = (np.abs(value) > half).mean(axis=0), value.std(axis=0)
    result: Numbers = {}
    for k, name in enumerate(estimands.defined_names):
        if not usable[k] or linear[k]:
            continue
        mean, root = float(se[:, k].mean()), float(np.sqrt((se[:, k] ** 2).mean()))
        result[name] = {
            "empirical_se": float(spread[k]),
            "mean_se": mean,
            "model_se": root,
            "se_ratio": root / float(spread[k]),
            "coverage": float(covers[k]),
            "rejection": float(rejects[k]),
            "ci_width": 2.0 * quantile(level) * mean,
        }
    return result


def montecarlo_by_draws(found: Asymptotics, estimands: Estimands, kind: str, level: float, n_clusters: int) -> Numbers:
    """Coverage, rejection and width of Monte Carlo intervals of ``:=`` parameters with J clusters.

    The interval of an estimate holds a value t if the share of its draws below t is between the two tails.
    """
    usable = _usable(found, estimands, kind)
    if usable is None:
        return {}
    q, used = len(estimands.names), estimands.used
    points = _estimates(found, used, n_clusters, OUTER, q)
    factor = psd_factor(np.nan_to_num(found.reported[kind][np.ix_(used, used)]) / n_clusters)
    noise = matvec(factor, _normals(len(used), INNER, 2))
    env: dict[str, FloatArray | float] = dict(estimands.constants)
    env |= {estimands.names[i]: points[:, i, None] + noise[:, k] for k, i in enumerate(used.tolist())}
    result: Numbers = {}
    tail = 0.5 * (1.0 - level)
    for k, (name, expression) in enumerate(estimands.definitions):
        truth = float(found.truth[q + k])
        with np.errstate(all="ignore"):
            env[name] = values = np.asarray(expression.evaluate(env)) * np.ones((OUTER, 1))
            if not usable[k]:
                continue
            below, below_0 = (values < truth).mean(axis=1), (values < 0.0).mean(axis=1)
            ends = np.quantile(values[:WIDTHS], [tail, 1.0 - tail], axis=1)
        result[name] = {
            "coverage": float(((below >= tail) & (below <= 1.0 - tail)).mean()) if np.isfinite(truth) else np.nan,
            "rejection": float(((below_0 < tail) | (below_0 > 1.0 - tail)).mean()),
            "ci_width": float((ends[1] - ends[0]).mean()),
        }
    return result


def _usable(found: Asymptotics, estimands: Estimands, kind: str) -> list[bool] | None:
    """Which ``:=`` parameters the method reports with a standard error; None if there is none."""
    q = len(estimands.names)
    if not estimands.definitions or not len(estimands.used) or kind not in found.reported:
        return None
    reported, true = np.diagonal(found.reported[kind])[q:], np.diagonal(found.covariance)[q:]
    usable = np.isfinite(reported) & np.isfinite(true)
    return [bool(fine) for fine in usable] if usable.any() else None


def _estimates(found: Asymptotics, used: IntArray, n_clusters: int, count: int, q: int) -> FloatArray:
    """Estimates (count, q) of the free parameters; those that no definition uses stay at their limits."""
    cov = found.covariance[np.ix_(used, used)] / n_clusters
    factor = psd_factor(np.nan_to_num(cov))
    points = np.repeat(found.limit[None, :q], count, axis=0)
    points[:, used] += matvec(factor, _normals(len(used), count, 1))
    return points

"""Targets that no sample size reaches, and why: read off the method's limit before anything is simulated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr

from simstudy.linalg.stacked import BoolArray, FloatArray
from simstudy.linalg.wald_intervals import quantile
from simstudy.planning.limits import Limits

ZERO = 1e-6
"""Limits and truths closer than this, relative to the larger or to 1, are the same number."""
SHORT = 0.97
"""Standard errors that tend to less than this share of the true ones are pointed out."""
FOREVER = 1e12
"""A number of clusters at which only the limit is left."""


def impossible(limits: Limits, method: str, low: int, high: int) -> str:
    """Why no number of clusters reaches the target; empty if one may.

    Parameters
    ----------
    limits : Limits
    method : str
        As messages call it.
    low, high : int
        Numbers of clusters that may be answered.
    """
    reasons: dict[str, Callable[[Limits, str, int, int], str]] = {
        "power": _power,
        "coverage": _coverage,
        "bias": _bias,
        "relative_bias": _bias,
        "median_bias": _bias,
    }
    check = reasons.get(limits.criterion.measure.name)
    return check(limits, method, low, high) if check and np.isfinite(limits.limit).all() else ""


def cautions(limits: Limits, method: str) -> list[str]:
    """What a reader must know before acting on an answer about power."""
    if limits.criterion.measure.name != "power" or not np.isfinite(limits.limit).all():
        return []
    name, limit, truth = limits.target.parameter, _mean(limits.limit), _mean(limits.truth)
    found = []
    if _biased(limits).any():
        tends = f"its estimate of {name} tends to {limit:.4g}, the truth is {truth:.4g}"
        found.append(
            f"{method} is biased: {tends}; significant results will have the wrong sign"
            if limit * truth < 0.0
            else f"{method} is biased: {tends}; this is the power for what it estimates"
        )
    ratio = float(np.mean([one.se_ratio(limits.target.se_kind)[limits.index] for one in limits.populations]))
    if ratio < SHORT:
        found.append(
            f"{method}'s {limits.target.se_kind} standard errors of {name} tend to {ratio:.2f} of the true ones: where "
            "there is no effect it rejects more often than the level says, and part of this power is that"
        )
    return found


def _power(limits: Limits, method: str, low: int, high: int) -> str:
    name, goal = limits.target.parameter, limits.criterion.target
    alpha = 1.0 - limits.target.level
    if not _apart(limits.truth, np.zeros_like(limits.truth)).any():
        return (
            f"the true value of {name} is 0: there is nothing to detect. What is rejected is the type I error, "
            f"nominally {alpha:.3g} with any number of clusters; a power of {goal:g} has no meaning here"
        )
    if not _apart(limits.limit, np.zeros_like(limits.limit)).any():
        return (
            f"{method}'s estimate of {name} tends to 0 although the truth is {_mean(limits.truth):.4g}: more clusters "
            f"never make it significant more often than {alpha:.3g}"
        )
    return ""


def _coverage(limits: Limits, method: str, low: int, high: int) -> str:
    name, goal = limits.target.parameter, limits.criterion.target
    apart = _biased(limits)
    if apart.any():
        share = f" (in {int(apart.sum())} of {len(apart)} draws)" if len(apart) > 1 else ""
        first, last = (float(limits.value(np.array([float(j)]))[0]) for j in (low, high))
        return (
            f"{method} is biased: its estimate of {name} tends to {_mean(limits.limit):.4g}, the truth is "
            f"{_mean(limits.truth):.4g}{share}. Its intervals close around the wrong value: coverage falls with more "
            f"clusters, from {first:.3f} at J = {low:,} to {last:.3f} at J = {high:,}; no number of clusters "
            f"gives {goal:g}"
        )
    ratios = [found.se_ratio(limits.target.se_kind)[limits.index] for found in limits.populations]
    end = float(np.mean([_two_sided(quantile(limits.target.level) * ratio) for ratio in ratios]))
    if np.isfinite(end) and goal >= end - 1e-4:
        ratio = float(np.mean(ratios))
        why = f"; its standard errors are {ratio:.3f} of the true ones" if abs(ratio - 1.0) > 1e-3 else ""
        return (
            f"coverage of {name} by {method}'s intervals tends to {end:.4f} with more clusters{why}: it comes close to "
            f"{goal:g} but does not reach it. Ask for a little less, such as {np.floor(100 * end - 1) / 100:.2f}"
        )
    return ""


def _bias(limits: Limits, method: str, low: int, high: int) -> str:
    name, goal, relative = (
        limits.target.parameter,
        limits.criterion.target,
        limits.criterion.measure.name == "relative_bias",
    )
    if relative and not _apart(limits.truth, np.zeros_like(limits.truth)).all():
        return f"the true value of {name} is 0: relative bias is not defined; ask for --bias"
    end = abs(float(limits.value(np.array([FOREVER]))[0]))
    if end >= goal and _biased(limits).any():
        what = "relative bias" if relative else "bias"
        found, truth = _mean(limits.limit), _mean(limits.truth)
        return (
            f"{method}'s estimate of {name} tends to {found:.4g}, the truth is {truth:.4g}; its {what} stays near "
            f"{end:.3g} however many clusters there are, above the {goal:g} asked for"
        )
    return ""


def _biased(limits: Limits) -> BoolArray:
    """Populations whose limit is not the truth; one that was sampled must be off by four Monte Carlo errors."""
    noise = np.array([one.mcse(lambda a: a.limit)[limits.index] for one in limits.populations])
    return _apart(limits.limit, limits.truth) & (np.abs(limits.limit - limits.truth) > 4.0 * noise)


def _apart(a: FloatArray, b: FloatArray) -> BoolArray:
    """Where numbers differ by more than rounding."""
    return np.asarray(np.abs(a - b) > ZERO * np.maximum(np.maximum(np.abs(a), np.abs(b)), 1.0))


def _two_sided(z: float) -> float:
    return float(2.0 * ndtr(z) - 1.0)


def _mean(values: FloatArray) -> float:
    return float(np.mean(values))

"""Confidence intervals of one fit: Wald, a method's own, Monte Carlo of ``:=`` parameters, bootstrap."""

from __future__ import annotations

import numpy as np

from simstudy.analysis.bootstrap import bootstrap
from simstudy.analysis.context import Context
from simstudy.estimation.inference import montecarlo
from simstudy.linalg.stacked import FloatArray
from simstudy.linalg.wald_intervals import quantile
from simstudy.model.twolevel import TwoLevelModel
from simstudy.requests.fit import FitRequest


def limits(
    context: Context, model: TwoLevelModel, request: FitRequest
) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
    """Lower and upper limits (q + d,), and notes."""
    ci, level, draws, seed = request.ci, request.ci_level, request.draws, request.seed
    result = context.result
    kind = next(iter(result.se))
    z = quantile(level)
    lower, upper = result.estimate[0] - z * result.se[kind][0], result.estimate[0] + z * result.se[kind][0]
    own: tuple[str, ...] = ()
    if kind in result.intervals:
        lower, upper, own = _with_own(context.method.name, result.intervals[kind], lower, upper)
    if ci == "wald" or not result.converged[0]:
        return lower, upper, own if result.converged[0] else ()
    if ci in context.method.interval_kinds:
        nothing = np.full_like(result.estimate, np.nan)
        low, high = (limit[0] for limit in result.intervals.get(ci, (nothing, nothing)))
        return low, high, (f"intervals are {ci} intervals of {context.method.name}",)
    if ci == "montecarlo":
        found = montecarlo(result, model.estimands, seed, "fit", range(1), draws, level)
        if "montecarlo" in found.intervals:
            low, high = (limit[0] for limit in found.intervals["montecarlo"])
            lower, upper = np.where(np.isnan(low), lower, low), np.where(np.isnan(high), upper, high)
        return lower, upper, ("intervals of := parameters are Monte Carlo intervals; the others are Wald intervals",)
    boot = bootstrap(context, model, parametric=ci == "bootstrap", draws=draws, seed=seed, progress=request.progress)
    good = ~np.isnan(boot).all(axis=1)
    failures = int((~good).sum())
    tail = (1.0 - level) / 2.0
    with np.errstate(all="ignore"):
        low, high = np.quantile(boot[good], [tail, 1.0 - tail], axis=0)
    notes = [f"intervals are percentile intervals of {int(good.sum())} bootstrap fits"]
    if failures:
        notes.append(f"{failures} of {draws} bootstrap fits failed and are left out of the intervals")
    return low, high, tuple(notes)


def _with_own(
    name: str, own: tuple[FloatArray, FloatArray], lower: FloatArray, upper: FloatArray
) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
    """A method's own limits, Wald limits for ``:=`` parameters of which it gave none, and a note."""
    low, high = (limit[0] for limit in own)
    gone = np.isnan(low) | np.isnan(high)
    others = "; those of := parameters are Wald intervals" if (gone & ~np.isnan(lower)).any() else ""
    note = f"intervals are those of {name} itself{others}"
    return np.where(gone, lower, low), np.where(gone, upper, high), (note,)

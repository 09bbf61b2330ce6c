"""The limit of a method, the true spread of its estimates, and what it reports: fed with the population's moments.

Every method is a function of the sufficient statistics. Its value at the population's moments is what it converges to;
its derivatives there, with the exact covariance of the moments, give the covariance of its estimates (THEORY B8, F2).
Both are found by the method's own fit, so every registered method is served, plug-ins included.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simstudy.arrays import FloatArray
from simstudy.asymptotics.layouts import shares
from simstudy.asymptotics.moments import Moments
from simstudy.asymptotics.result import Asymptotics, SeLaw
from simstudy.asymptotics.routes import ROBUST, Core, find_core
from simstudy.estimators.base import Estimator, Status
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.population import Population


def approximate(estimator: Estimator, model: TwoLevelModel, population: Population) -> Asymptotics:
    """Limits of a method in one population, for any number of clusters with its shares of cluster sizes.

    Never raises for what a method does: missing numbers are NaN, with the reason in ``notes``.

    Parameters
    ----------
    estimator : Estimator
    model : TwoLevelModel
        The analysed model.
    population : Population
        Normal and complete for everything; of others see `approximate_all`.
    """
    return approximate_all(estimator, model, [population])[0]


def approximate_all(
    estimator: Estimator, model: TwoLevelModel, populations: Sequence[Population]
) -> tuple[Asymptotics, ...]:
    """`approximate` for many populations: those that differ in J alone are computed once, the others in batches.

    Limits, and what a method reports from sums, hold for any distribution with the population's moments. True
    variances, and what robust standard errors converge to, need normal data: they are NaN for other distributions.
    With missing values everything is NaN.
    """
    result: list[Asymptotics | None] = [None] * len(populations)
    groups: dict[object, list[int]] = {}
    for i, population in enumerate(populations):
        reason, status = _refusal(estimator, model, population)
        if reason:
            result[i] = _nothing(estimator, model, population, status, reason)
            continue
        m = population.moments
        groups.setdefault((shares(population.layout), m.level1, m.level2), []).append(i)
    for members in groups.values():
        distinct: dict[object, list[int]] = {}
        for i in members:
            m = populations[i].moments
            distinct.setdefault(tuple(x.tobytes() for x in (m.mu, m.sigma_within, m.sigma_between)), []).append(i)
        chosen = [populations[same[0]] for same in distinct.values()]
        core = find_core(estimator, model, Moments.of(chosen[0].layout, chosen))
        for c, same in enumerate(distinct.values()):
            for i in same:
                result[i] = _one(core, c, estimator, model, populations[i])
    return tuple(found for found in result if found is not None)


def _refusal(estimator: Estimator, model: TwoLevelModel, population: Population) -> tuple[str, Status]:
    """Why there is nothing to compute, or empty."""
    if population.has_missing:
        return "values are missing: the limit is not a function of the population's moments", Status.EXCEPTION
    try:
        reason = estimator.supports(model, population.layout)
    except Exception as error:  # whatever a plug-in raises is its failure
        return f"the method stopped with an error: {type(error).__name__}: {error}", Status.EXCEPTION
    return ("", Status.OK) if reason is None else (reason or "it gives no reason", Status.NOT_SUPPORTED)


def _nothing(
    estimator: Estimator, model: TwoLevelModel, population: Population, status: Status, reason: str
) -> Asymptotics:
    k = len(model.reported)
    blank = np.full(k, np.nan)
    return Asymptotics(
        labels=model.reported,
        levels=model.reported_levels,
        truth=population.truth(model),
        limit=blank,
        covariance=np.full((k, k), np.nan),
        second_order=blank,
        reported={kind: np.full((k, k), np.nan) for kind in estimator.se_kinds},
        laws={},
        n_clusters=population.layout.n_clusters,
        status=status,
        notes=(reason,),
    )


def _one(core: Core, c: int, estimator: Estimator, model: TwoLevelModel, population: Population) -> Asymptotics:
    """One population's share."""
    status = Status(int(core.status[c]))
    if status is not Status.OK:
        reason = core.notes[0] if core.notes else f"fit to the population's moments: {status.message}"
        return _nothing(estimator, model, population, status, reason)
    notes = list(core.notes)
    rough = ~core.smooth[c]
    covariance, second_order = core.covariance[c].copy(), core.second_order[c].copy()
    if not population.normal:
        notes.append("data are not normal: true and robust standard errors need fourth moments")
        rough = np.ones_like(rough)
    elif not core.moved[c]:
        notes.append("the method fails next to the population's moments: no standard errors")
        rough = np.ones_like(rough)
    elif rough.any():
        names = ", ".join(label for label, bad in zip(model.reported, rough, strict=True) if bad)
        notes.append(f"no derivative at the population's moments (a variance at its boundary?): {names}")
    covariance[rough], covariance[:, rough], second_order[rough] = np.nan, np.nan, np.nan
    reported = {kind: _without_rounding(cov[c], core.limit[c]) for kind, cov in core.reported.items()}
    known = population.normal and bool(core.moved[c])
    laws = {kind: SeLaw(law.second_order[c], law.variance[c]) for kind, law in core.laws.items() if known}
    if not population.normal:
        reported = {k: np.full_like(cov, np.nan) if k in ROBUST else cov for k, cov in reported.items()}
    return Asymptotics(
        labels=model.reported,
        levels=model.reported_levels,
        truth=population.truth(model),
        limit=core.limit[c],
        covariance=_without_rounding(covariance, core.limit[c]),
        second_order=second_order,
        reported=reported,
        laws=laws,
        n_clusters=population.layout.n_clusters,
        notes=tuple(notes),
    )


def _without_rounding(covariance: FloatArray, limit: FloatArray) -> FloatArray:
    """Variances that are rounding errors of a constant are 0."""
    with np.errstate(invalid="ignore"):
        constant = np.diagonal(covariance) < 1e-18 * (1.0 + limit**2)
    if not constant.any():
        return covariance
    return np.where(constant[:, None] | constant, np.where(np.isnan(covariance), np.nan, 0.0), covariance)

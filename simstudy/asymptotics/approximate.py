"""The limit of a method, the true spread of its estimates, and what it reports: fed with the population's moments.

Every method is a function of the sufficient statistics. Its value at the population's moments is what it converges to;
its derivatives there, with the exact covariance of the moments, give the covariance of its estimates (theory B8, F2).
Both are found by the method's own fit, so every registered method is served, plug-ins included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from simstudy.asymptotics.large_samples import SAMPLES, Tick, address, by_large_samples
from simstudy.asymptotics.layouts import shares
from simstudy.asymptotics.moments import Moments
from simstudy.asymptotics.result import Asymptotics, SeLaw, nothing, without_rounding
from simstudy.asymptotics.routes import ROBUST, Core, find_core
from simstudy.estimation.result import Status
from simstudy.methods import ask
from simstudy.methods.protocol import Estimator
from simstudy.methods.wall import MethodError
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import data_kind
from simstudy.population.population import Population

MISSING = "values are missing: the limit is not a function of the population's moments, and needs large samples"
MORE = "data are not normal, and the method uses more than sums: its limit needs large samples"
OWN_DATA = "the method's data are not a function of moments: its limit needs large samples"


def approximate(
    estimator: Estimator, model: TwoLevelModel, population: Population, *, large_samples: int = SAMPLES
) -> Asymptotics:
    """Limits of a method in one population, for any number of clusters with its shares of cluster sizes.

    Never raises for what a method does: missing numbers are NaN, with the reason in ``notes``.

    Parameters
    ----------
    estimator : Estimator
    model : TwoLevelModel
        The analysed model.
    population : Population
    large_samples : int
        Samples to draw where the moments are not enough, see `approximate_all`.
    """
    return approximate_all(estimator, model, [population], large_samples=large_samples)[0]


def approximate_all(
    estimator: Estimator,
    model: TwoLevelModel,
    populations: Sequence[Population],
    *,
    large_samples: int = SAMPLES,
    tick: Tick | None = None,
) -> tuple[Asymptotics, ...]:
    """`approximate` for many populations: those that differ in J alone are computed once, the others in batches.

    Limits of methods that use sums alone, and what these report from sums, hold for any distribution with the
    population's moments. All other numbers need complete normal data, which excludes random slopes. Elsewhere they are
    found from large samples (`by_large_samples`).

    Parameters
    ----------
    large_samples : int
        Number of samples a population; 0: numbers that need them are NaN.
    tick : callable, optional
        Told of the progress of large samples.
    """
    found: dict[int, Asymptotics] = {}
    by_moments: list[int] = []
    only_sums = _only_sums(estimator)
    for i, population in enumerate(populations):
        reason, status = _refusal(estimator, model, population)
        if status is Status.OK and (population.has_missing or not (population.normal or only_sums)):
            reason, status = (MISSING if population.has_missing else MORE), Status.EXCEPTION
        elif status is Status.OK and not data_kind(estimator.needs).from_moments:
            reason, status = OWN_DATA, Status.EXCEPTION
        if reason:
            found[i] = nothing(estimator, model, population, status, reason)
        else:
            by_moments.append(i)
    found |= _by_moments(estimator, model, populations, by_moments)
    if large_samples > 0:
        found |= _with_samples(estimator, model, populations, found, large_samples, tick)
    return tuple(found[i] for i in range(len(populations)))


def needs_samples(estimator: Estimator, population: Population) -> bool:
    """Whether the moments of a population are not enough for the spread of estimates."""
    return population.has_missing or not population.normal or not data_kind(estimator.needs).from_moments


def _by_moments(
    estimator: Estimator, model: TwoLevelModel, populations: Sequence[Population], chosen: Sequence[int]
) -> dict[int, Asymptotics]:
    """What follows from moments, by number of the population."""
    found: dict[int, Asymptotics] = {}
    groups: dict[object, list[int]] = {}
    for i in chosen:
        m = populations[i].moments
        groups.setdefault((shares(populations[i].layout), m.level1, m.level2), []).append(i)
    for members in groups.values():
        distinct: dict[object, list[int]] = {}
        for i in members:
            m = populations[i].moments
            distinct.setdefault(tuple(x.tobytes() for x in (m.mu, m.sigma_within, m.sigma_between)), []).append(i)
        several = [populations[same[0]] for same in distinct.values()]
        core = find_core(estimator, model, Moments.of(several[0].layout, several))
        for c, same in enumerate(distinct.values()):
            found |= {i: _one(core, c, estimator, model, populations[i]) for i in same}
    return found


def _with_samples(
    estimator: Estimator,
    model: TwoLevelModel,
    populations: Sequence[Population],
    known: Mapping[int, Asymptotics],
    samples: int,
    tick: Tick | None,
) -> dict[int, Asymptotics]:
    """Numbers from large samples beside what is known, for the populations that need them."""
    sampled: dict[str, Asymptotics] = {}
    result: dict[int, Asymptotics] = {}
    for i, population in enumerate(populations):
        if not needs_samples(estimator, population) or _refusal(estimator, model, population)[0]:
            continue
        key = address(population)
        if key not in sampled:
            sampled[key] = by_large_samples(estimator, model, population, samples, tick)
        mine = replace(sampled[key], n_clusters=population.layout.n_clusters, truth=known[i].truth)
        result[i] = _joined(estimator, known[i], mine)
    return result


def _joined(estimator: Estimator, known: Asymptotics, sampled: Asymptotics) -> Asymptotics:
    """The limit, and what is reported from sums, as they are known; the rest from samples."""
    if known.status is not Status.OK:
        return sampled
    if sampled.errors is None:
        return replace(known, notes=(*known.notes, *sampled.notes))
    plain = ask.on_sums(estimator)
    exact = [kind for kind in (plain.se_kinds if plain else ()) if kind in known.reported and kind not in ROBUST]
    joint = {kind: cov.copy() for kind, cov in sampled.errors.joint.items()}
    for kind, cov in joint.items():
        for part in (0, 2) if kind in exact else (0,):
            cov[:, part], cov[:, :, part] = 0.0, 0.0
    kinds = tuple(kind for kind in sampled.kinds if kind not in exact)
    return replace(
        sampled,
        limit=known.limit,
        reported={kind: known.reported[kind] if kind in exact else cov for kind, cov in sampled.reported.items()},
        errors=replace(sampled.errors, limit=False, kinds=kinds, joint=joint),
    )


def _only_sums(estimator: Estimator) -> bool:
    """Whether the estimates follow from sums; `_refusal` tells where the method stops when it is asked."""
    try:
        return ask.on_sums(estimator) is not None
    except MethodError:
        return False


def _refusal(estimator: Estimator, model: TwoLevelModel, population: Population) -> tuple[str, Status]:
    """Why there is nothing to compute, or empty."""
    try:
        reason = ask.supports(estimator, model, population.layout)
        ask.on_sums(estimator)
    except MethodError as error:
        return f"the method stopped with an error: {error.text}", Status.EXCEPTION
    return ("", Status.OK) if reason is None else (reason, Status.NOT_SUPPORTED)


def _one(core: Core, c: int, estimator: Estimator, model: TwoLevelModel, population: Population) -> Asymptotics:
    """One population's share."""
    status = Status(int(core.status[c]))
    if status is not Status.OK:
        reason = core.notes[0] if core.notes else f"fit to the population's moments: {status.message}"
        return nothing(estimator, model, population, status, reason)
    notes = list(core.notes)
    rough = ~core.smooth[c]
    covariance, second_order = core.covariance[c].copy(), core.second_order[c].copy()
    if not population.normal:
        notes.append("data are not normal: true and robust standard errors need fourth moments, or large samples")
        rough = np.ones_like(rough)
    elif not core.moved[c]:
        notes.append("the method fails next to the population's moments: no standard errors")
        rough = np.ones_like(rough)
    elif rough.any():
        names = ", ".join(label for label, bad in zip(model.reported, rough, strict=True) if bad)
        notes.append(f"no derivative at the population's moments (a variance at its boundary?): {names}")
    covariance[rough], covariance[:, rough], second_order[rough] = np.nan, np.nan, np.nan
    reported = {kind: without_rounding(cov[c], core.limit[c]) for kind, cov in core.reported.items()}
    known = population.normal and bool(core.moved[c])
    laws = {kind: SeLaw(law.second_order[c], law.variance[c]) for kind, law in core.laws.items() if known}
    if not population.normal:
        reported = {k: np.full_like(cov, np.nan) if k in ROBUST else cov for k, cov in reported.items()}
    return Asymptotics(
        labels=model.reported,
        levels=model.reported_levels,
        truth=population.truth(model),
        limit=core.limit[c],
        covariance=without_rounding(covariance, core.limit[c]),
        second_order=second_order,
        reported=reported,
        laws=laws,
        n_clusters=population.layout.n_clusters,
        notes=tuple(notes),
    )

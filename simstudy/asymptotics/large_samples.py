"""Limits and spreads from samples with very many clusters, where the moments do not tell them.

With random slopes, data that are not normal, or missing values, the spread of estimates depends on more than means and
covariances. Then S samples of some J = 2,000 clusters, with the population's shares of cluster sizes, are drawn and
fitted: the mean of the estimates is the limit, J times their covariance the true one, J times the mean of the reported
covariance the reported one. Terms of order 1 / J stay in. Everything has a Monte Carlo error (`SampleErrors`).

The mean robust covariance would be a less noisy estimate of the true one, but only where the sandwich is right, which
is what the comparison is to show: it is not used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from simstudy.asymptotics.layouts import grown, shares
from simstudy.asymptotics.result import Asymptotics, SampleErrors, nothing, without_rounding
from simstudy.data.layout import ClusterLayout
from simstudy.data.sample import Sample
from simstudy.estimation.inference import with_defined
from simstudy.estimation.result import FitResult, Status
from simstudy.linalg.stacked import BoolArray, FloatArray
from simstudy.methods import ask
from simstudy.methods.listwise import fit_listwise
from simstudy.methods.protocol import Estimator
from simstudy.methods.wall import MethodError, fit_by_halves, fitter
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import data_kind
from simstudy.population.population import Population
from simstudy.population.streams import FitStreams

SAMPLES = 200
"""Samples unless said otherwise: standard errors are then known to 5 %."""
CLUSTERS, ROWS, ROWS_WITH_GAPS, FEWEST = 2_000, 40_000, 10_000, 400
"""Clusters of a sample: so many; fewer, but not below the last, if they had more rows than that. Full information
takes half a second a sample of 20,000 rows with gaps, fifty times what it takes without."""
SEED = 20_210_608
"""Samples are addressed by population and number: the same bits every time, whatever else is computed."""
WORKING_SET = 32_000_000
"""Bytes of a batch's arrays."""
HEAVY = 3.0
"""Excess kurtosis of the estimates from which a spread is called doubtful: 9 standard errors from 0 with 200."""
PILE = 5
"""So many estimates at their smallest value, to `TIE` standard deviations, are a boundary and no accident."""
TIE = 1e-4
ON_BOUNDARY = 0.05
"""Share of fits with a singular between covariance matrix from which its elements have no normal spread."""

Tick = Callable[[int, int], None]
"""Told how many samples were fitted, and how many of these failed."""


def address(population: Population) -> str:
    """What samples depend on; the number of clusters is not part of it."""
    asked = (
        shares(population.layout),
        tuple(float(value) for value in population.values),
        population.model.table.rows,
        population.distribution,
        population.missing,
        population.slopes,
    )
    return hashlib.sha256(repr(asked).encode()).hexdigest()


def enlarged(population: Population) -> Population:
    """The population with the clusters of a large sample."""
    layout, key = population.layout, address(population)
    rows = ROWS_WITH_GAPS if population.has_missing else ROWS
    wanted = min(CLUSTERS, max(FEWEST, rows * layout.n_clusters // layout.n_obs))
    return replace(population, layout=grown(layout, wanted), key=key, data_key=key)


def by_large_samples(
    estimator: Estimator,
    model: TwoLevelModel,
    population: Population,
    samples: int = SAMPLES,
    tick: Tick | None = None,
) -> Asymptotics:
    """Limit, true and reported covariances of a method from large samples, with their Monte Carlo errors.

    Parameters
    ----------
    estimator : Estimator
        One that supports the model.
    model : TwoLevelModel
        The analysed model.
    population : Population
        Of any kind.
    samples : int
    tick : callable, optional
        Progress.
    """
    large = enlarged(population)
    try:
        fit = _fits(estimator, model, large, samples, tick)
    except MethodError as error:
        why = f"the method stopped with an error: {error.text}"
        return nothing(estimator, model, population, Status.EXCEPTION, why)
    n_failed = samples - int(fit.converged.sum())
    said = _failures(fit)
    if 2 * n_failed >= samples or samples - n_failed < 2:
        status = Status(int(np.bincount(fit.status[~fit.converged]).argmax())) if n_failed else Status.NONFINITE
        return nothing(estimator, model, population, status, said or "a single sample has no spread")
    return _summary(fit, model, population, large.layout.n_clusters, (said,) if said else ())


# ------------------------------------------------------------------------------------------------------------- samples


def _fits(estimator: Estimator, model: TwoLevelModel, large: Population, samples: int, tick: Tick | None) -> FitResult:
    """Fits of all samples, over ``model.reported``."""
    own = fitter(estimator, ask.prepare(estimator, model, large.layout))
    by_row = large.has_missing and not estimator.takes_missing
    kind = data_kind("sample" if large.has_missing else estimator.needs)

    def of_complete_rows(data: Sample, streams: FitStreams) -> FitResult:
        return fit_listwise(estimator, model, data, streams)

    how = of_complete_rows if by_row else own

    size, parts = _batch(model, large.layout), []
    with np.errstate(all="ignore"):
        for first in range(0, samples, size):
            numbers = range(first, min(first + size, samples))
            streams = FitStreams.of(SEED, estimator.name, "large samples", numbers)
            part = fit_by_halves(estimator, model, how, ask.draw(kind, large, SEED, numbers), streams)
            parts.append(with_defined(part.blank_failures(), model.estimands))
            if tick is not None:
                tick(len(numbers), len(numbers) - int(part.converged.sum()))
    return FitResult.concat(parts)


def _batch(model: TwoLevelModel, layout: ClusterLayout) -> int:
    """Samples at once."""
    p, q = len(model.variables), len(model.names)
    numbers = 8 * q * q + 2 * p * layout.n_obs + (4 * p * p + 2 * q) * layout.n_clusters
    return max(1, int(WORKING_SET // (8 * numbers)))


# ------------------------------------------------------------------------------------------------------------- numbers


def _failures(fit: FitResult) -> str:
    """How many samples have no estimates, and why."""
    values, counts = np.unique(fit.status[~fit.converged], return_counts=True)
    causes = "; ".join(
        f"{count}: {Status(value).message}" for value, count in zip(values.tolist(), counts.tolist(), strict=True)
    )
    return f"{int(counts.sum())} of {fit.n_replicates} large samples failed ({causes})" if causes else ""


def _summary(
    fit: FitResult, model: TwoLevelModel, population: Population, j: int, notes: tuple[str, ...]
) -> Asymptotics:
    """Means, covariances and errors of the fits that converged."""
    x = fit.estimate[fit.converged]
    n, k = x.shape
    limit = _mean(x)
    d = x - limit
    covariance = j * _mean(d[:, :, None] * d[:, None]) * n / (n - 1)
    piled, heavy = _at_boundary(fit, x, model), _heavy(d)
    covariance[piled], covariance[:, piled] = np.nan, np.nan
    true = np.diagonal(covariance)
    reported, joint = {}, {}
    for kind, cov in fit.covariance.items():
        each = j * cov[fit.converged]
        reported[kind] = _mean(each)
        own = np.diagonal(each, axis1=-2, axis2=-1)
        u = np.stack([d, j * d**2 - true, own - _mean(own)], axis=-1)
        joint[kind] = _mean(u[..., :, None] * u[..., None, :]) / n
        lost = int((np.isnan(own) & np.isfinite(x)).sum(axis=0)[np.isfinite(_mean(own))].max(initial=0))
        notes += (f"{kind} SEs are missing in up to {lost} of {n} large samples",) if lost else ()
    for which, what in (
        (piled, "estimates meet a boundary even in large samples, so that no normal spread describes them"),
        (heavy & ~piled, "estimates are far from normal even in large samples: their spread is doubtful"),
    ):
        names = ", ".join(label for label, hit in zip(model.reported, which, strict=True) if hit)
        notes += (f"{what}: {names}",) if names else ()
    return Asymptotics(
        labels=model.reported,
        levels=model.reported_levels,
        truth=population.truth(model),
        limit=limit,
        covariance=without_rounding(covariance, limit),
        second_order=np.full(k, np.nan),
        reported={kind: without_rounding(cov, limit) for kind, cov in reported.items()},
        laws={},
        n_clusters=population.layout.n_clusters,
        notes=notes,
        errors=SampleErrors(fit.n_replicates, fit.n_replicates - n, j, True, tuple(reported), joint),
    )


def _mean(values: FloatArray) -> FloatArray:
    """Mean over samples of what there is; NaN where there is nothing."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: FloatArray = np.where(known, values, 0.0).sum(axis=0) / np.where(count, count, np.nan)
    return result


def _at_boundary(fit: FitResult, x: FloatArray, model: TwoLevelModel) -> BoolArray:
    """Parameters (k,) whose estimates meet a boundary, and what is computed from them.

    Methods that keep the between covariance matrix positive semidefinite say how often it is singular.
    """
    result, q = _piled(x), len(model.names)
    on_it = fit.measures.get("boundary", np.zeros(fit.n_replicates))[fit.converged]
    if float(np.nanmean(on_it)) >= ON_BOUNDARY:
        result[[row.free for row in model.table.at("between") if row.op == "~~" and row.free >= 0]] = True
        result &= np.isfinite(_mean(x))
    if model.estimands.definitions:
        uses = np.nan_to_num(model.estimands.jacobian(_mean(x)[:q])) != 0.0
        result[q:] |= (uses & result[:q]).any(axis=-1)
    return result


def _piled(x: FloatArray) -> BoolArray:
    """Parameters (k,) with many estimates at their smallest value, and others."""
    with np.errstate(invalid="ignore"):
        sd = np.sqrt(_mean((x - _mean(x)) ** 2))
        close = x - np.where(np.isnan(x), np.inf, x).min(axis=0) <= TIE * sd
        result: BoolArray = (close.sum(axis=0) >= PILE) & (sd > 1e-9 * (1.0 + np.abs(_mean(x))))
    return result


def _heavy(d: FloatArray) -> BoolArray:
    """Parameters (k,) with heavy-tailed estimates."""
    with np.errstate(all="ignore"):
        result: BoolArray = _mean(d**4) / _mean(d**2) ** 2 - 3.0 > HEAVY
    return result

"""Draw the replicates of a block of one cell, and fit methods to them.

Nothing here depends on how replicates are divided into blocks and batches: data are addressed by replicate, fits do not
depend on their neighbours, and a batch in which a method stops with an error is halved until the replicates that cause
it stand alone.
"""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from simstudy.data.sample import Sample
from simstudy.data.statistics import TwoLevelStatistics
from simstudy.design import Cell, EstimatorEntry, Intervals
from simstudy.estimation.inference import montecarlo, with_defined
from simstudy.estimation.result import FitResult, Status, failed
from simstudy.methods.listwise import fit_listwise
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import data_kind, kind_that_serves
from simstudy.population.population import Population
from simstudy.runner.parts import Failure
from simstudy.runner.rows import MONTECARLO, MethodFits, slim

WORKING_SET = 16_000_000
"""Bytes of a batch's arrays. Below some 100 replicates the price of a batch is that of the calls, not of the numbers:
measured on the conflation study, 2.4 ms a replicate in batches of 4, .4 in 64, .3 in 250, whatever the cache."""
MAX_ERRORS = 5
"""Different errors of a method that are kept for a block."""

Fit = Callable[[TwoLevelStatistics | Sample, range], FitResult]


@dataclass(frozen=True)
class Study:
    """What all tasks of a study share.

    Attributes
    ----------
    folder : Path
    design : str
        Digest of the design.
    seed : int
    model : TwoLevelModel
        Analysed by every method.
    intervals : Intervals
    """

    folder: Path
    design: str
    seed: int
    model: TwoLevelModel
    intervals: Intervals

    @property
    def montecarlo(self) -> bool:
        """Whether there are Monte Carlo intervals to compute."""
        return MONTECARLO in self.intervals.kinds and bool(self.model.estimands.definitions)


@dataclass(frozen=True)
class Batch:
    """Data of some replicates, drawn when a method asks for them.

    A kind that is part of another one, bit for bit, is not drawn beside it. Statistics computed from rows agree with
    those drawn only up to rounding, so they never stand in for them.

    Attributes
    ----------
    needed : set of str
        Kinds of data that any of the methods needs.
    """

    population: Population
    seed: int
    replicates: range
    needed: frozenset[str]
    _drawn: dict[str, Any] = field(default_factory=dict)

    def of(self, needs: str) -> Any:
        """Data of the kind that a method needs."""
        kind = kind_that_serves(needs, self.needed)
        if kind.name not in self._drawn:
            self._drawn[kind.name] = kind.draw(self.population, self.seed, self.replicates)
        return self._drawn[kind.name]


@dataclass(frozen=True)
class Ready:
    """A method made ready for one cell.

    Attributes
    ----------
    name : str
    needs : str
    fit : callable
        Data and replicate numbers -> result over ``model.reported``.
    nothing : callable
        Number of replicates, status -> result without numbers.
    reason : str
        Why the cell is not supported, or empty.
    problem : Failure or None
        Error that the method stopped with when it was made ready.
    """

    name: str
    needs: str
    fit: Fit
    nothing: Callable[[int, Status], FitResult]
    reason: str = ""
    problem: Failure | None = None


def no_fit(study: Study, kinds: tuple[str, ...], n: int, status: Status) -> FitResult:
    """Result of ``n`` data sets without a fit: every row that a fit has, without numbers."""
    labels = study.model.reported
    limits = np.full((n, len(labels)), np.nan)
    intervals = {MONTECARLO: (limits, limits)} if study.montecarlo else {}
    return replace(slim(failed(labels, kinds, n, status)), intervals=intervals)


def make_ready(study: Study, cell: Cell, entry: EstimatorEntry) -> Ready:
    """Prepare a method for a cell; an error in it becomes `Ready.problem`."""
    model, estimator = study.model, entry.estimator
    kinds = estimator.se_kinds

    def nothing(n: int, status: Status) -> FitResult:
        return no_fit(study, kinds, n, status)

    def unusable(_data: TwoLevelStatistics | Sample, replicates: range) -> FitResult:
        return nothing(len(replicates), Status.NOT_SUPPORTED)

    try:
        reason = estimator.supports(model, cell.population.layout)
        if reason is not None:
            return Ready(entry.name, "statistics", unusable, nothing, reason or "it gives no reason")
        prepared = estimator.prepare(model, cell.population.layout)
    except Exception as error:  # whatever a plug-in raises is its failure, not the study's
        return Ready(entry.name, "statistics", unusable, nothing, problem=_failure(entry.name, 0, error))

    incomplete = cell.population.has_missing
    by_row = incomplete and not estimator.takes_missing

    def fit(data: TwoLevelStatistics | Sample, replicates: range) -> FitResult:
        if by_row:
            assert isinstance(data, Sample)
            result = fit_listwise(estimator, model, data)
        else:
            result = prepared.fit(data)
        check_result(result, model.names, kinds, len(replicates))
        result = with_defined(result, model.estimands)
        if study.montecarlo:
            settings = (study.seed, cell.population.key, replicates, study.intervals.draws, study.intervals.level)
            result = montecarlo(result, model.estimands, *settings)
        return slim(result)

    return Ready(entry.name, "sample" if incomplete else estimator.needs, fit, nothing)


def check_result(fit: FitResult, labels: tuple[str, ...], kinds: tuple[str, ...], n: int) -> None:
    """Refuse a result that is not what a method promises."""
    if fit.labels != labels:
        raise ValueError(f"the result has the parameters {fit.labels}, not {labels}")
    if tuple(fit.covariance) != kinds:
        raise ValueError(f"the result has the SE kinds {tuple(fit.covariance)}, not {kinds}")
    q = len(labels)
    shapes = {
        "estimate": (fit.estimate, (n, q)),
        "status": (fit.status, (n,)),
        "admissible": (fit.admissible, (n,)),
        "n_iter": (fit.n_iter, (n,)),
        "loglik": (fit.loglik, (n,)),
        **{f"covariance '{kind}'": (cov, (n, q, q)) for kind, cov in fit.covariance.items()},
    }
    for name, (array, shape) in shapes.items():
        if np.shape(array) != shape:
            raise ValueError(f"the result's {name} has the shape {np.shape(array)}, not {shape}")


_READY: dict[tuple[str, int, str, str], Ready] = {}


def _ready(study: Study, cell: Cell, entry: EstimatorEntry) -> Ready:
    """Look up a method made ready in this process, once for each cell."""
    key = (study.design, cell.index, entry.name, entry.digest)
    if key not in _READY:
        if len(_READY) >= 512:
            _READY.clear()
        _READY[key] = make_ready(study, cell, entry)
    return _READY[key]


def batch_size(study: Study, cell: Cell, needed: Iterable[str]) -> int:
    """Replicates a batch, so that it touches about `WORKING_SET` bytes."""
    layout, model = cell.population.layout, study.model
    p, q = len(model.variables), len(model.names)
    numbers = 8 * q * q + (4 * p * p + 2 * q) * len(layout.distinct) + p * layout.n_clusters
    if not cell.population.normal or any(data_kind(needs).by_row for needs in needed):
        numbers += 2 * p * layout.n_obs + p * p * layout.n_clusters
    if study.montecarlo:
        numbers += 3 * study.intervals.draws * (q + len(model.estimands.used))
    return max(1, int(WORKING_SET // (8 * numbers)))


def fit_block(
    study: Study, cell: Cell, entries: Sequence[EstimatorEntry], replicates: range
) -> tuple[list[MethodFits], list[Failure], dict[str, str]]:
    """Fits of every method, the errors met, and the reasons for what is not supported."""
    methods = [_ready(study, cell, entry) for entry in entries]
    needed = frozenset(method.needs for method in methods)
    size = batch_size(study, cell, needed)
    fits: dict[str, list[FitResult]] = {method.name: [] for method in methods}
    seconds: dict[str, list[float]] = {method.name: [] for method in methods}
    failures: list[Failure] = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for first in range(0, len(replicates), size):
            some = replicates[first : first + size]
            batch = Batch(cell.population, study.seed, some, needed)
            for method in methods:
                data = batch.of(method.needs)
                start = time.perf_counter()
                fit, errors = fit_guarded(method, data, some)
                seconds[method.name] += [(time.perf_counter() - start) / len(some)] * len(some)
                fits[method.name].append(fit)
                failures += errors
    results = [MethodFits(name, FitResult.concat(parts), np.array(seconds[name])) for name, parts in fits.items()]
    return results, _pooled(failures), {method.name: method.reason for method in methods if method.reason}


def fit_guarded(method: Ready, data: TwoLevelStatistics | Sample, replicates: range) -> tuple[FitResult, list[Failure]]:
    """Fit a batch; where the method stops with an error, find the replicates that it is an error of."""
    n = len(replicates)
    if method.problem is not None:
        return method.nothing(n, Status.EXCEPTION), [replace(method.problem, replicate=replicates.start, count=n)]
    try:
        return method.fit(data, replicates), []
    except Exception as error:
        if n == 1:
            return method.nothing(1, Status.EXCEPTION), [_failure(method.name, replicates.start, error)]
    halves = (slice(0, n // 2), slice(n // 2, n))
    parts = [fit_guarded(method, data.select(half), replicates[half]) for half in halves]
    return FitResult.concat([fit for fit, _ in parts]), [failure for _, found in parts for failure in found]


def _failure(method: str, replicate: int, error: Exception) -> Failure:
    text = "".join(traceback.format_exception(error))
    return Failure(method, replicate, 1, f"{type(error).__name__}: {error}"[:500], text[-3000:])


def _pooled(failures: Sequence[Failure]) -> list[Failure]:
    """One entry for each different error; at most `MAX_ERRORS` a method, the last of which counts the rest."""
    found: dict[tuple[str, str], Failure] = {}
    kinds: dict[str, int] = {}
    for failure in failures:
        key = (failure.method, failure.error)
        if key not in found and kinds.get(failure.method, 0) >= MAX_ERRORS - 1:
            key = (failure.method, "")
            failure = replace(failure, error=f"(other errors, first:) {failure.error}")
        if key in found:
            found[key] = replace(found[key], count=found[key].count + failure.count)
        else:
            kinds[failure.method] = kinds.get(failure.method, 0) + 1
            found[key] = failure
    return list(found.values())

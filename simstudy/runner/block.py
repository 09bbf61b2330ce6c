"""Draw the replicates of a block of one cell, and fit methods to them.

Nothing here depends on how replicates are divided into blocks and batches: data are addressed by replicate, fits do not
depend on their neighbours, and a batch in which a method stops with an error, or takes too long, is halved until the
replicates that cause it stand alone.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from simstudy.data.sample import Sample
from simstudy.design import Cell, EstimatorEntry, Intervals
from simstudy.estimation.inference import montecarlo, with_defined
from simstudy.estimation.result import FitResult, Status, failed
from simstudy.methods import ask
from simstudy.methods.listwise import fit_listwise
from simstudy.methods.protocol import Estimator
from simstudy.methods.wall import MethodError, TimeUp, fit_walled, fitter, select
from simstudy.model.twolevel import TwoLevelModel
from simstudy.population.data_kinds import data_kind, kind_that_serves
from simstudy.population.population import Population
from simstudy.population.streams import FitStreams
from simstudy.runner.limit import AT_ONCE, NO_LIMIT, Limit, deadline
from simstudy.runner.parts import Failure
from simstudy.runner.rows import MONTECARLO, MethodFits, slim

WORKING_SET = 16_000_000
"""Bytes of a batch's arrays. Below some 100 replicates the price of a batch is that of the calls, not of the numbers:
measured on the conflation study, 2.4 ms a replicate in batches of 4, .4 in 64, .3 in 250, whatever the cache."""
MAX_ERRORS = 5
"""Different errors of a method and status that are kept for a block."""

Fit = Callable[[Any, range], tuple[FitResult, dict[int, str]]]


@dataclass(frozen=True)
class StudyContext:
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
    timeout : float or None
        Time limit a fit, in seconds.
    """

    folder: Path
    design: str
    seed: int
    model: TwoLevelModel
    intervals: Intervals
    timeout: float | None = None

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
        """Data of the kind that a method needs; a `MethodError` where a kind from elsewhere cannot be drawn."""
        kind = kind_that_serves(needs, self.needed)
        if kind.name not in self._drawn:
            self._drawn[kind.name] = ask.draw(kind, self.population, self.seed, self.replicates)
        return self._drawn[kind.name]

    def part(self, half: slice) -> Batch:
        """Some of the replicates, drawn anew."""
        return replace(self, replicates=self.replicates[half], _drawn={})


@dataclass(frozen=True)
class Ready:
    """A method made ready for one cell.

    Attributes
    ----------
    name : str
    needs : str
    fit : callable
        Data and replicate numbers -> result over ``model.reported``, and what is wrong with the numbers of which data
        set.
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


def no_fit(study: StudyContext, method: Estimator, n: int, status: Status) -> FitResult:
    """Result of ``n`` data sets without a fit: every row that a fit has, without numbers."""
    found = _with_all_intervals(failed(study.model.reported, method.se_kinds, n, status), method)
    if study.montecarlo:
        limits = np.full_like(found.estimate, np.nan)
        found = replace(found, intervals={**found.intervals, MONTECARLO: (limits, limits)})
    return slim(found)


def _with_all_intervals(fit: FitResult, method: Estimator) -> FitResult:
    """A result with every kind of intervals that the method may have, NaN where there are none: rows are the same."""
    limits = np.full_like(fit.estimate, np.nan)
    return replace(fit, intervals={**dict.fromkeys(method.interval_kinds, (limits, limits)), **fit.intervals})


def make_ready(study: StudyContext, cell: Cell, entry: EstimatorEntry) -> Ready:
    """Prepare a method for a cell; an error in it becomes `Ready.problem`."""
    model, estimator, layout = study.model, entry.estimator, cell.population.layout

    def nothing(n: int, status: Status) -> FitResult:
        return no_fit(study, estimator, n, status)

    def unusable(_data: Any, replicates: range) -> tuple[FitResult, dict[int, str]]:
        return nothing(len(replicates), Status.NOT_SUPPORTED), {}

    try:
        reason = ask.supports(estimator, model, layout)
        if reason is not None:
            return Ready(entry.name, "statistics", unusable, nothing, reason)
        own = fitter(estimator, ask.prepare(estimator, model, layout))
    except MethodError as error:
        return Ready(entry.name, "statistics", unusable, nothing, problem=_failure(entry.name, 0, error))

    def of_complete_rows(data: Sample, streams: FitStreams) -> FitResult:
        return fit_listwise(estimator, model, data, streams)

    incomplete = cell.population.has_missing
    how = of_complete_rows if incomplete and not estimator.takes_missing else own

    def fit(data: Any, replicates: range) -> tuple[FitResult, dict[int, str]]:
        streams = FitStreams.of(study.seed, estimator.name, cell.population.key, replicates)
        result, wrong = fit_walled(estimator, model, how, data, streams, study.intervals.level)
        result = _with_all_intervals(with_defined(result, model.estimands), estimator)
        if study.montecarlo:
            settings = (study.seed, cell.population.key, replicates, study.intervals.draws, study.intervals.level)
            result = montecarlo(result, model.estimands, *settings)
        return slim(result), wrong

    return Ready(entry.name, "sample" if incomplete else estimator.needs, fit, nothing)


_READY: dict[tuple[str, int, str, str], Ready] = {}


def _ready(study: StudyContext, cell: Cell, entry: EstimatorEntry) -> Ready:
    """Look up a method made ready in this process, once for each cell."""
    key = (study.design, cell.index, entry.name, entry.digest)
    if key not in _READY:
        if len(_READY) >= 512:
            _READY.clear()
        _READY[key] = make_ready(study, cell, entry)
    return _READY[key]


def batch_size(study: StudyContext, cell: Cell, needed: Iterable[str]) -> int:
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
    study: StudyContext, cell: Cell, entries: Sequence[EstimatorEntry], replicates: range, limit: Limit = NO_LIMIT
) -> tuple[list[MethodFits], list[Failure], dict[str, str]]:
    """Fits of every method, the errors met, and the reasons for what is not supported."""
    methods = [_ready(study, cell, entry) for entry in entries]
    needed = frozenset(method.needs for method in methods)
    size = batch_size(study, cell, needed)
    if limit.seconds is not None:
        size = min(size, AT_ONCE)
    fits: dict[str, list[FitResult]] = {method.name: [] for method in methods}
    seconds: dict[str, list[float]] = {method.name: [] for method in methods}
    failures: list[Failure] = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for first in range(0, len(replicates), size):
            some = replicates[first : first + size]
            batch = Batch(cell.population, study.seed, some, needed)
            for method in methods:
                with suppress(MethodError):  # drawing is not the method's time; what cannot be drawn is found below
                    batch.of(method.needs)
                start = time.perf_counter()
                fit, errors = fit_drawn(method, batch, limit)
                seconds[method.name] += [(time.perf_counter() - start) / len(some)] * len(some)
                fits[method.name].append(fit)
                failures += errors
    results = [MethodFits(name, FitResult.concat(parts), np.array(seconds[name])) for name, parts in fits.items()]
    return results, _pooled(failures), {method.name: method.reason for method in methods if method.reason}


def fit_drawn(method: Ready, batch: Batch, limit: Limit = NO_LIMIT) -> tuple[FitResult, list[Failure]]:
    """Fit a batch; where its data cannot be drawn or divided, find the replicates that are to blame."""
    n = len(batch.replicates)
    try:
        return fit_guarded(method, batch.of(method.needs), batch.replicates, limit)
    except MethodError as error:
        if n == 1:
            return method.nothing(1, Status.EXCEPTION), [_failure(method.name, batch.replicates.start, error)]
    parts = [fit_drawn(method, batch.part(half), limit) for half in (slice(0, n // 2), slice(n // 2, n))]
    return FitResult.concat([fit for fit, _ in parts]), [failure for _, found in parts for failure in found]


def fit_guarded(
    method: Ready, data: Any, replicates: range, limit: Limit = NO_LIMIT
) -> tuple[FitResult, list[Failure]]:
    """Fit a batch; where the method stops with an error or takes too long, find the replicates that do it.

    Raises
    ------
    MethodError
        The data cannot be divided.
    """
    n, first = len(replicates), replicates.start
    if method.problem is not None:
        return method.nothing(n, Status.EXCEPTION), [replace(method.problem, replicate=first, count=n)]
    batch = (method.name, first, n)
    try:
        if batch in limit.known:
            raise TimeUp
        with deadline(None if limit.seconds is None else limit.seconds * n, batch):
            fit, wrong = method.fit(data, replicates)
        return fit, [
            Failure(method.name, first + row, 1, why, status=Status.NONFINITE.name) for row, why in wrong.items()
        ]
    except MethodError as error:
        if n == 1:
            return method.nothing(1, Status.EXCEPTION), [_failure(method.name, first, error)]
    except TimeUp:
        if n == 1:
            why = f"the fit took longer than the time limit of {limit.seconds:g} s"
            return method.nothing(1, Status.TIMEOUT), [Failure(method.name, first, 1, why, status=Status.TIMEOUT.name)]
    halves = (slice(0, n // 2), slice(n // 2, n))
    parts = [fit_guarded(method, select(data, half, n), replicates[half], limit) for half in halves]
    return FitResult.concat([fit for fit, _ in parts]), [failure for _, found in parts for failure in found]


def _failure(method: str, replicate: int, error: MethodError) -> Failure:
    return Failure(method, replicate, 1, error.text, error.trace)


def _pooled(failures: Sequence[Failure]) -> list[Failure]:
    """One entry for each different error, at most `MAX_ERRORS` a method and status; the last one counts the rest."""
    found: dict[tuple[str, str, str], Failure] = {}
    kinds: dict[tuple[str, str], int] = {}
    for failure in failures:
        kind = (failure.method, failure.status)
        key = (*kind, failure.error)
        if key not in found and kinds.get(kind, 0) >= MAX_ERRORS - 1:
            key = (*kind, "")
            failure = replace(failure, error=f"(other errors, first:) {failure.error}")
        if key in found:
            found[key] = replace(found[key], count=found[key].count + failure.count)
        else:
            kinds[kind] = kinds.get(kind, 0) + 1
            found[key] = failure
    return list(found.values())

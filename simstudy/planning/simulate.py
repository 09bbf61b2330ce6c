"""Simulate one design: replicates of one parameter by one method, block by block, kept in a folder.

A block is a range of replicates (of every draw of the population, where values are uncertain). Its data are addressed
by population and replicate, so it has the same bits whenever it is run; one that is in the folder is read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from simstudy.design import Cell
from simstudy.design.scenario import Scenario
from simstudy.estimation.result import FitResult, Status
from simstudy.linalg.stacked import BoolArray, FloatArray
from simstudy.linalg.wald_intervals import quantile
from simstudy.performance import measures, rates, robust
from simstudy.performance.moments import Measured
from simstudy.planning.criterion import Criterion
from simstudy.planning.curve import Observed
from simstudy.planning.limits import Target
from simstudy.planning.uncertain import Draws
from simstudy.population.data_kinds import DataKind
from simstudy.runner.block import StudyContext
from simstudy.runner.files import read_table, write_table
from simstudy.runner.fit_cells import fit_cells
from simstudy.runner.progress import Reporter
from simstudy.runner.worker import kinds_of, prepare_worker

BLOCK = 1000
"""Data sets a block: a file, and the unit of parallel work."""
ALONE_SECONDS = 8.0
"""Work goes to a pool of processes once it has taken so long; most plans never need one."""
LINE_SECONDS = 10.0
EVALUATIONS = "evaluations"


@dataclass(frozen=True)
class SampleSize:
    """Number of clusters, and cluster size where that is open."""

    n_clusters: int
    cluster_size: int | None = None

    @property
    def text(self) -> str:
        """E.g. ``J = 120, n = 10``."""
        return f"J = {self.n_clusters:,}" + (f", n = {self.cluster_size:,}" if self.cluster_size is not None else "")


@dataclass(frozen=True)
class Outcome:
    """What became of replicates.

    Attributes
    ----------
    estimate, lower, upper : (R,)
        NaN where there is none.
    converged : (R,) of bool
    truth : (R,)
    error : str
        First error that the method stopped with, if it did; not kept.
    """

    estimate: FloatArray
    lower: FloatArray
    upper: FloatArray
    converged: BoolArray
    truth: FloatArray
    error: str = ""

    @classmethod
    def join(cls, parts: Sequence[Outcome]) -> Outcome:
        """One after another."""
        error = next((part.error for part in parts if part.error), "")
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS}
        return cls(**columns, error=error)

    def measure(self, criterion: Criterion) -> Measured:
        """The measure, its Monte Carlo SE and the replicates that entered, as in performance tables; arrays (1,)."""
        name = criterion.measure.name
        estimate, lower, upper = self.estimate[:, None], self.lower[:, None], self.upper[:, None]
        if name == "power":
            return rates.rejection(lower, upper)
        if name == "coverage":
            covered = (self.lower <= self.truth) & (self.truth <= self.upper)
            return rates.rate(covered[:, None], rates.has_interval(lower, upper))
        if name == "convergence":
            return rates.convergence(self.converged[:, None], np.ones((len(self.converged), 1), dtype=bool))
        if name == "width":
            return rates.ci_width(lower, upper)
        scale = np.abs(self.truth)[:, None] if name == "relative_bias" else 1.0
        deviation = (estimate - self.truth[:, None]) / scale
        return (robust.median_bias if name == "median_bias" else measures.bias)(deviation, np.zeros(1))

    def observed(self, criterion: Criterion, size: int) -> Observed:
        """The measure as a point of a curve."""
        found = self.measure(criterion)
        value, mcse, n = (float(array[0]) for array in (found.value, found.mcse, found.n))
        return Observed(size, value, mcse, int(n), len(self.estimate), int(self.converged.sum()))


_FIELDS = ("estimate", "lower", "upper", "converged", "truth")


@dataclass(frozen=True)
class Unit:
    """A block: replicates first..stop-1 of some draws."""

    design: SampleSize
    draws: range
    first: int
    stop: int

    @property
    def name(self) -> str:
        """File name."""
        size = "" if self.design.cluster_size is None else f"_n{self.design.cluster_size:05d}"
        draws = f"_d{self.draws.start:05d}-{self.draws.stop - 1:05d}" if self.draws.stop > 1 else ""
        return f"J{self.design.n_clusters:06d}{size}{draws}_{self.first:08d}-{self.stop - 1:08d}.parquet"

    @property
    def work(self) -> int:
        """Data sets."""
        return len(self.draws) * (self.stop - self.first)


@dataclass
class Simulator:
    """Runs blocks, or reads those that are there.

    Attributes
    ----------
    scenario : Scenario
    target : Target
    draws : Draws
        Of the uncertain values; one without values where there are none.
    folder : Path or None
        Where blocks are kept; None keeps nothing.
    jobs : int
    report : Reporter
    """

    scenario: Scenario
    target: Target
    draws: Draws
    folder: Path | None
    jobs: int
    report: Reporter
    spent: float = 0.0
    replicates: int = 0
    _memory: dict[str, Outcome] = field(default_factory=dict)

    def run(self, design: SampleSize, first: int, stop: int) -> Outcome:
        """Outcomes of replicates first..stop-1; of every draw that many of its own, where values are uncertain."""
        units = self._units(design, first, stop)
        found = {unit.name: known for unit in units if (known := self._known(unit)) is not None}
        todo = [unit for unit in units if unit.name not in found]
        begin = last = time.monotonic()
        done, total = 0, sum(unit.work for unit in todo)
        for unit, outcome in self._execute(todo):
            found[unit.name] = self._keep(unit, outcome)
            done += unit.work
            if time.monotonic() - last > LINE_SECONDS and done < total:
                last = time.monotonic()
                self.report.say(f"  {design.text}: {done:,} of {total:,} data sets")
        self.spent += time.monotonic() - begin
        self.replicates += total
        return Outcome.join([found[unit.name] for unit in units])

    def replicates_for(self, n: int) -> int:
        """Replicates of each draw that make at least ``n`` data sets."""
        return math.ceil(n / len(self.draws.values))

    def _units(self, design: SampleSize, first: int, stop: int) -> list[Unit]:
        """Blocks on a fixed grid, so that a longer run has those of a shorter one."""
        n_draws = len(self.draws.values)
        if n_draws == 1:
            grid = range(first - first % BLOCK, stop, BLOCK)
            return [Unit(design, range(1), max(start, first), min(start + BLOCK, stop)) for start in grid]
        some = max(1, BLOCK // max(stop - first, 1))
        return [
            Unit(design, range(start, min(start + some, n_draws)), first, stop) for start in range(0, n_draws, some)
        ]

    def _known(self, unit: Unit) -> Outcome | None:
        if unit.name in self._memory:
            return self._memory[unit.name]
        if self.folder is None or not (path := self.folder / EVALUATIONS / unit.name).exists():
            return None
        try:
            table = read_table(path)
            columns = [table[name].to_numpy() for name in _FIELDS]
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            self.report.say(f"{path.name} is damaged ({error}); it is run again")
            return None
        self._memory[unit.name] = Outcome(*columns)
        return self._memory[unit.name]

    def _keep(self, unit: Unit, outcome: Outcome) -> Outcome:
        if self.folder is not None:
            write_table(self.folder / EVALUATIONS / unit.name, pa.table({n: getattr(outcome, n) for n in _FIELDS}))
        self._memory[unit.name] = outcome
        return outcome

    def _execute(self, units: Sequence[Unit]) -> Iterator[tuple[Unit, Outcome]]:
        """Run blocks here, or in a pool once the plan has taken a while."""
        units = list(units)
        begin = time.monotonic()
        while units and (self.jobs == 1 or len(units) == 1 or self.spent + time.monotonic() - begin < ALONE_SECONDS):
            unit = units.pop(0)
            yield unit, run_unit(self.scenario, self.target, self.draws, unit)
        if units:
            kinds = kinds_of([self.scenario.entry.estimator])
            with joblib.parallel_config(backend="loky", n_jobs=self.jobs, inner_max_num_threads=1):
                parallel = joblib.Parallel(return_as="generator", batch_size=1)
                task = (self.scenario, self.target, self.draws)
                calls = (joblib.delayed(_in_worker)(kinds, *task, unit) for unit in units)
                yield from zip(units, parallel(calls), strict=True)


def _in_worker(kinds: tuple[DataKind, ...], scenario: Scenario, target: Target, draws: Draws, unit: Unit) -> Outcome:
    """Run a block in a worker process."""
    prepare_worker([scenario.entry.estimator], kinds)
    return run_unit(scenario, target, draws, unit)


def run_unit(scenario: Scenario, target: Target, draws: Draws, unit: Unit) -> Outcome:
    """Draw and fit the data sets of a block."""
    replicates = range(unit.first, unit.stop)
    cells = [scenario.cell(unit.design.n_clusters, unit.design.cluster_size, draws.values[k]) for k in unit.draws]
    study = StudyContext(Path(), scenario.digest, scenario.seed, scenario.model, scenario.intervals)
    with threadpool_limits(1):
        fits, error = fit_cells(study, cells, scenario.entry, replicates)
    parts = [_outcome(fit, cell, scenario, target) for fit, cell in zip(fits, cells, strict=True)]
    return replace(Outcome.join(parts), error=error)


def _outcome(fit: FitResult, cell: Cell, scenario: Scenario, target: Target) -> Outcome:
    """What counts for the target."""
    at = fit.labels.index(target.parameter)
    estimate, se = fit.estimate[:, at], fit.se[target.se_kind][:, at]
    if target.interval == "montecarlo" and target.parameter in scenario.model.estimands.defined_names:
        lower, upper = (limit[:, at] for limit in fit.intervals["montecarlo"])
    else:
        half = quantile(target.level) * se
        lower, upper = estimate - half, estimate + half
        if target.se_kind in fit.intervals:  # the method's own, in place of Wald intervals
            own = tuple(limit[:, at] for limit in fit.intervals[target.se_kind])
            known = ~(np.isnan(own[0]) | np.isnan(own[1]))
            lower, upper = np.where(known, own[0], lower), np.where(known, own[1], upper)
    truth = np.full(len(estimate), cell.population.truth(scenario.model)[at])
    return Outcome(estimate, lower, upper, np.asarray(fit.status == Status.OK), truth)

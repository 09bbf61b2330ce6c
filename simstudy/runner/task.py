"""One task: fit the methods to a block of replicates of one cell, and write the part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from simstudy.design import Cell, EstimatorEntry
from simstudy.estimation.result import FitResult, Status
from simstudy.runner.block import StudyContext, fit_block, no_fit
from simstudy.runner.limit import Limit, Overrun
from simstudy.runner.parts import Failure, Part, cell_address, write_part
from simstudy.runner.rows import MethodFits, fit_table, replicate_table


@dataclass(frozen=True)
class Task:
    """Replicates first, ..., stop - 1 of a cell, and the methods to fit.

    Attributes
    ----------
    share : float
        Part of a block's work; less than 1 where the methods of a block run one by one.
    overruns : frozenset of Overrun
        Batches on which a worker was ended because a fit was over its time limit and did not react.
    """

    cell: Cell
    first: int
    stop: int
    entries: tuple[EstimatorEntry, ...]
    share: float = 1.0
    overruns: frozenset[Overrun] = frozenset()

    @property
    def replicates(self) -> range:
        """Numbers of the replicates."""
        return range(self.first, self.stop)

    @property
    def methods(self) -> dict[str, str]:
        """Name of each method and the digest of its options."""
        return {entry.name: entry.digest for entry in self.entries}

    def part(self, design: str) -> Part:
        """Address of what it will write."""
        return Part(design, cell_address(self.cell.index, self.cell.key), self.first, self.stop, self.methods)


@dataclass(frozen=True)
class Done:
    """What a finished task reports."""

    name: str
    fits: int
    failed: int


def run_task(study: StudyContext, task: Task) -> Done:
    """Run one task and write its part."""
    limit = Limit(study.timeout, task.overruns)
    fits, failures, reasons = fit_block(study, task.cell, task.entries, task.replicates, limit)
    return _write(study, task, fits, failures, reasons)


def give_up(study: StudyContext, task: Task, why: str) -> Done:
    """Write the part of a block that its worker did not survive: every fit is an EXCEPTION."""
    n = len(task.replicates)
    fits, failures = [], []
    for entry in task.entries:
        nothing = no_fit(study, entry.estimator, n, Status.EXCEPTION)
        fits.append(MethodFits(entry.name, nothing, np.zeros(n)))
        failures.append(Failure(entry.name, task.first, n, why))
    return _write(study, task, fits, failures, {}, killed=True)


def _write(
    study: StudyContext,
    task: Task,
    fits: Sequence[MethodFits],
    failures: Sequence[Failure],
    reasons: dict[str, str],
    *,
    killed: bool = False,
) -> Done:
    statuses = {entry.method: _by_status(entry.fit) for entry in fits}
    address = task.part(study.design)
    part = replace(
        address,
        failures=tuple(failures),
        reasons=reasons,
        statuses=statuses,
        killed=killed,
        timeout=study.timeout,
    )
    index, replicates = task.cell.index, task.replicates
    rows = replicate_table(index, replicates, fits, study.model.estimands.defined_names)
    part = write_part(study.folder, part, rows, fit_table(index, replicates, fits))
    fine = (Status.OK.name, Status.NOT_SUPPORTED.name)
    bad = sum(n for counts in statuses.values() for status, n in counts.items() if status not in fine)
    return Done(part.name, len(task.entries) * len(replicates), bad)


def _by_status(fit: FitResult) -> dict[str, int]:
    values, counts = np.unique(fit.status, return_counts=True)
    return {Status(value).name: int(count) for value, count in zip(values.tolist(), counts, strict=True)}

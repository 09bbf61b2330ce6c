"""Replicate until the Monte Carlo SEs are small enough: the rounds of ``run --until``.

In a round every unfinished cell is run up to its number of replicates, looked at, and given its next number, if it
needs one (the rule: `simstudy.performance.precision`). A decision depends on the replicates 0..n-1 of its cell alone,
and every run decides anew from the first look on. So the same command gives the same numbers of replicates, and the
same bits, for any number of jobs, any block size, after any interruption, and whatever the folder held before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from simstudy.design import Design
from simstudy.errors import SimstudyError, did_you_mean
from simstudy.performance import summarise_cell
from simstudy.performance.choose import choose_parameters
from simstudy.performance.precision import Target, assess, next_look, parse_targets, reached
from simstudy.runner.manifest import Manifest, write_manifest
from simstudy.runner.parts import DamagedPartError
from simstudy.runner.progress import Reporter
from simstudy.runner.tables import Folder, by_cell, read_cell, read_folder
from simstudy.runner.todo import Shard

START = 250
"""Replicates before the first look: an MCSE is then known within some 5 %."""
MAXIMUM = 10_000
"""Largest number of replicates a cell unless another is given, or the design asks for more."""


@dataclass(frozen=True)
class Until:
    """Precision asked for.

    Attributes
    ----------
    targets : tuple of Target
    start, maximum : int
        Replicates before the first look, and the most a cell may have.
    methods, parameters : tuple of str
        Whose Monte Carlo SEs count.
    """

    targets: tuple[Target, ...]
    start: int
    maximum: int
    methods: tuple[str, ...]
    parameters: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {**asdict(self), "targets": {target.measure: target.mcse for target in self.targets}}


def read_until(
    design: Design,
    targets: str,
    start: int | None = None,
    maximum: int | None = None,
    parameters: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
) -> Until:
    """Check what was asked for.

    Parameters
    ----------
    design : Design
    targets : str
        Such as ``coverage=.005,bias=.01``.
    start, maximum : int, optional
        `START`; `MAXIMUM`, or the design's number of replications if that is larger.
    parameters, methods : sequence of str, optional
        Names, and patterns of parameters; the labelled and the ``:=`` parameters, and all methods, by default.

    Raises
    ------
    SimstudyError
        One message a problem.
    """
    found = parse_targets(targets)
    most = max(MAXIMUM, design.replications) if maximum is None else maximum
    first = min(START, most) if start is None else start
    problems = []
    if most < 2:
        problems.append(f"max-reps: found {most}; allowed: 2 or more")
    elif not 2 <= first <= most:
        problems.append(f"reps: found {first}; with --until it is the number before the first look: 2 to {most:,}")
    names = [entry.name for entry in design.estimators]
    known = ", ".join(names)
    unknown = [name for name in methods or () if name not in names]
    problems += [f"until-method: unknown '{name}'{did_you_mean(name, names)}; allowed: {known}" for name in unknown]
    try:
        chosen = choose_parameters(parameters or None, design.model.reported)
    except SimstudyError as error:
        chosen, problems = [], [*problems, *(f"until-{problem}" for problem in error.problems)]
    if problems:
        raise SimstudyError(problems)
    kept = tuple(name for name in names if not methods or name in methods)
    return Until(found, first, most, kept, tuple(chosen))


class Rounds:
    """Numbers of replicates of the cells of a study, and what they have come to.

    Attributes
    ----------
    wanted : dict of int to int
        Replicates asked for of each cell so far.
    open : list of int
        Cells to be looked at when these replicates are there.
    """

    def __init__(self, design: Design, until: Until, shard: Shard) -> None:
        self.until, self.shard = until, shard
        self._numbers = [cell.index for position, cell in enumerate(design.cells) if shard.has(position)]
        self.wanted = dict.fromkeys(self._numbers, until.start)
        self.open = list(self._numbers)
        self._reached: dict[int, list[dict[str, Any]]] = {}

    def begin(self, manifest: Manifest, root: Path) -> Manifest:
        """Put the numbers of this round into the manifest; a cell of another shard has those of the start."""
        manifest = replace(
            manifest,
            replications=self.until.start,
            cell_replications=dict(self.wanted),
            until=self.until.record(),
        )
        write_manifest(root, manifest)
        return manifest

    def look(self, root: Path, report: Reporter) -> list[DamagedPartError]:
        """Look at the open cells and give them their next numbers; damaged parts stop the look."""
        folder = read_folder(root)
        parts = by_cell(folder)
        damaged = list(folder.contents.damaged)
        for number in list(self.open) if not damaged else ():
            rows = read_cell(folder, number, parts[number], damaged)
            if damaged or rows is None:
                break
            n = self.wanted[number]
            summary = summarise_cell(
                rows.parts(),
                rows.fits,
                folder.truth[folder.truth["cell"] == number],
                estimators=folder.methods,
                params=folder.params,
                level=folder.manifest.level,
            )
            if damaged:  # replicate rows are read while they are summarised
                break
            assessed = assess(summary, self.until.targets, self.until.methods, self.until.parameters)
            self._reached[number] = reached(assessed, n)
            self.wanted[number] = next_look(assessed, n, self.until.maximum)
            if self.wanted[number] == n:
                self.open.remove(number)
        if self.open and not damaged:
            more = sum(self.wanted[number] - self._reached[number][0]["replicates"] for number in self.open)
            report.say(f"{len(self.open)} of {len(self._numbers)} cells need more: {more:,} replicates")
        return damaged

    def table(self, folder: Folder) -> pd.DataFrame:
        """What was reached: one row a cell and target, see `reached`, with the factors in front."""
        rows = [{"cell": number, **row} for number in self._numbers for row in self._reached.get(number, ())]
        factors = folder.cells[["cell", *folder.manifest.factors]]
        return factors.merge(pd.DataFrame(rows), on="cell", how="inner").sort_values("cell", kind="stable")

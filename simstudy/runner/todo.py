"""What is missing: from the design and the parts that are there to tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from simstudy.design import Cell, Design
from simstudy.errors import SimstudyError
from simstudy.linalg.stacked import BoolArray
from simstudy.runner.parts import Part, cell_address
from simstudy.runner.task import Task

BLOCK_SIZE = 250
"""Replicates a task: a second or a few of work, whatever the machine or the number of jobs."""


@dataclass(frozen=True)
class Shard:
    """Share ``index`` (from 1) of ``count``: every count-th block."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``i/k``.

        Raises
        ------
        SimstudyError
            If it is not of that form.
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise SimstudyError(f"shard: found '{text}'; allowed: i/k with 1 <= i <= k, such as 2/4")
        return cls(int(index), int(count))

    def has(self, block: int) -> bool:
        """Whether a block belongs to this share."""
        return block % self.count == self.index - 1


WHOLE = Shard()

Coverage = Mapping[tuple[str, str], BoolArray]
"""Cell address and method -> which replicates are there (R,)."""


def method_digests(design: Design) -> dict[str, str]:
    """Name of each method of a design, and the digest of its options."""
    return {entry.name: entry.digest for entry in design.estimators}


def wanted_replicates(design: Design, per_cell: Mapping[int, int] | None = None) -> dict[str, int]:
    """Address of each cell in file names, and the replicates asked for: the design's number, or one a cell."""
    numbers = per_cell or {}
    return {cell_address(c.index, c.key): numbers.get(c.index, design.replications) for c in design.cells}


def coverage(parts: Iterable[Part], wanted: Mapping[str, int], methods: Mapping[str, str]) -> Coverage:
    """Which replicates of each cell and method are in the parts; a method with other options does not count.

    Parameters
    ----------
    parts : iterable of Part
    wanted : mapping
        Address of each cell, and the replicates asked for of it.
    methods : mapping
        Name of each method, and the digest of its options.
    """
    found = {(cell, name): np.zeros(n, dtype=bool) for cell, n in wanted.items() for name in methods}
    for part in parts:
        for name, digest in part.methods.items():
            if methods.get(name) == digest and (part.cell, name) in found:
                found[part.cell, name][part.first : part.stop] = True
    return found


def missing_tasks(design: Design, there: Coverage, block_size: int, shard: Shard = WHOLE) -> list[Task]:
    """Tasks for everything that is not there, block by block through all cells.

    Blocks stand on a fixed grid of replicates. Where the methods of a block lack different replicates, it is divided
    into runs of replicates that lack the same ones, so that nothing is run twice.
    """
    tasks: list[Task] = []
    first = design.estimators[0].name
    wanted = [len(there[cell_address(cell.index, cell.key), first]) for cell in design.cells]
    for number, start in enumerate(range(0, max(wanted, default=0), block_size)):
        for position, cell in enumerate(design.cells):
            stop = min(start + block_size, wanted[position])
            if start < stop and shard.has(number * len(design.cells) + position):
                tasks += _block_tasks(design, cell, there, start, stop)
    return tasks


def _block_tasks(design: Design, cell: Cell, there: Coverage, start: int, stop: int) -> list[Task]:
    address = cell_address(cell.index, cell.key)
    lacking = np.array([~there[address, entry.name][start:stop] for entry in design.estimators])
    edges = np.flatnonzero((lacking[:, 1:] != lacking[:, :-1]).any(axis=0)) + 1
    limits = [0, *edges.tolist(), stop - start]
    tasks = []
    for first, last in pairwise(limits):
        entries = tuple(entry for entry, row in zip(design.estimators, lacking, strict=True) if row[first])
        if entries:
            tasks.append(Task(cell, start + first, start + last, entries))
    return tasks


def n_replicates(tasks: Sequence[Task]) -> int:
    """Data sets that tasks fit."""
    return sum(len(task.replicates) for task in tasks)

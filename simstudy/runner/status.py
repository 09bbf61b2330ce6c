"""What is done, what failed and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from simstudy.estimation.result import Status
from simstudy.runner.tables import Folder, by_cell, read_folder
from simstudy.runner.todo import coverage

PROBLEM_COLUMNS = ("cell", "estimator", "status", "replicate", "count", "message", "traceback")


@dataclass(frozen=True)
class StatusRecord:
    """State of a results folder.

    Attributes
    ----------
    folder : Path
    name : str
    replications : int
        Asked for, in each cell; the most of any where cells differ.
    progress : DataFrame
        cell, the factors, estimator, done, missing, and the number of fits by status for every status that occurs.
    problems : DataFrame
        cell, estimator, status, replicate (the first affected), count, message, traceback: errors that methods stopped
        with, what was wrong with their numbers, and the reasons why a method does not support a cell.
    damaged : tuple of str
        Parts that are damaged, and how.
    versions : dict of str to str
        Python and packages that began the folder.
    until : dict
        Precision that decided the numbers of replications, see `Manifest`; empty if none did.
    """

    folder: Path
    name: str
    replications: int
    progress: pd.DataFrame
    problems: pd.DataFrame
    damaged: tuple[str, ...]
    versions: dict[str, str]
    until: dict[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Nothing is missing."""
        return int(self.progress["missing"].sum()) == 0


def read_status(root: Path) -> StatusRecord:
    """State of a results folder, from the footers of its parts.

    Raises
    ------
    StoreError
        If it is not a results folder.
    """
    folder = read_folder(root)
    manifest = folder.manifest
    return StatusRecord(
        folder=root,
        name=manifest.name,
        replications=manifest.replications,
        progress=_progress(folder),
        problems=_problems(folder),
        damaged=tuple(map(str, folder.contents.damaged)),
        versions=manifest.versions,
        until=manifest.until,
    )


def _progress(folder: Folder) -> pd.DataFrame:
    manifest, methods = folder.manifest, folder.methods
    wanted = {address: manifest.replications_of(number) for address, number in folder.addresses.items()}
    there = coverage(folder.contents.parts, wanted, manifest.methods)
    done = np.array([there[address, name].sum() for address in wanted for name in methods], dtype=np.int64)
    cells = folder.cells.loc[folder.cells.index.repeat(len(methods)), ["cell", *manifest.factors]]
    table = cells.reset_index(drop=True)
    table["estimator"] = methods * len(folder.cells)
    table["done"] = done
    table["missing"] = np.repeat(list(wanted.values()), len(methods)) - done
    counts = _counts(folder)
    keys = list(zip(table["cell"].tolist(), table["estimator"], strict=True))
    for status in Status:
        column = [counts[cell, name][status.name] for cell, name in keys]
        if any(column):
            table[status.name] = column
    return table


def _counts(folder: Folder) -> dict[tuple[int, str], Counter[str]]:
    """Fits of each cell and method by status."""
    found: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for number, parts in by_cell(folder).items():
        for part in parts:
            for name, statuses in part.statuses.items():
                if part.methods.get(name) == folder.manifest.methods.get(name):
                    found[number, name].update(statuses)
    return found


def _problems(folder: Folder) -> pd.DataFrame:
    """Pool what parts say about a cell and method by message; first replicates and counts over the cell."""
    found: dict[tuple[int, str, str, str], list[object]] = {}
    for number, parts in by_cell(folder).items():
        for part in sorted(parts, key=lambda part: part.first):
            entries = [(f.method, Status[f.status], f.replicate, f.count, f.error, f.traceback) for f in part.failures]
            entries += [(m, Status.NOT_SUPPORTED, part.first, part.size, why, "") for m, why in part.reasons.items()]
            for method, status, replicate, count, message, traceback in entries:
                if part.methods[method] != folder.manifest.methods.get(method):
                    continue
                row = found.setdefault((number, method, status.name, message), [replicate, 0, traceback])
                row[1] = int(row[1]) + count  # type: ignore[call-overload]
    rows = [(*key[:3], row[0], row[1], key[3], row[2]) for key, row in found.items()]
    return pd.DataFrame(rows, columns=list(PROBLEM_COLUMNS))

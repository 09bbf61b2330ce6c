"""Tables of a whole study: performance of every cell, and the failures of every method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from simstudy.errors import StoreError
from simstudy.performance.cell import COLUMNS
from simstudy.performance.moments import IntArray
from simstudy.performance.pivot import OK, codes, distinct

STATUSES: tuple[str, ...] = (
    OK,
    "MAX_ITER",
    "SINGULAR_INFORMATION",
    "NON_PD",
    "NONFINITE",
    "EXCEPTION",
    "NOT_SUPPORTED",
)
"""Statuses that always have a column in a failures table; other statuses follow in alphabetical order."""

FAILURE_COLUMNS: tuple[str, ...] = ("cell", "estimator", "attempted", "converged", "inadmissible")
"""Columns of a failures table before those of the statuses."""


def performance_table(
    summaries: Iterable[pd.DataFrame], cells: pd.DataFrame | None = None, factors: Sequence[str] = ()
) -> pd.DataFrame:
    """Join the summaries of cells, in whatever order they come, into the study's performance table.

    Parameters
    ----------
    summaries : iterable of DataFrame
        Results of `summarise_cell`; a generator keeps one cell's replicates in memory at a time.
    cells : DataFrame, optional
        cell and the factor columns.
    factors : sequence of str
        Columns of `cells` to put in front.

    Returns
    -------
    DataFrame
        factors..., then the columns of `summarise_cell`; ordered by cell, within a cell as `summarise_cell` left it.
    """
    parts = sorted(((int(part["cell"].iloc[0]), part) for part in summaries if len(part)), key=lambda item: item[0])
    numbers = [number for number, _ in parts]
    twice = sorted({number for number, following in pairwise(numbers) if number == following})
    if twice:
        raise StoreError(f"cells {twice[:5]} were summarised twice")
    if not parts:
        return pd.DataFrame(columns=[*factors, *COLUMNS])
    table = pd.concat([part for _, part in parts], ignore_index=True)
    if cells is None or not factors:
        return table
    lookup = pd.Index(cells["cell"].to_numpy(dtype=np.int64))
    row = lookup.get_indexer(pd.Index(table["cell"].to_numpy(dtype=np.int64)))
    if (row < 0).any():
        raise StoreError(f"cell {table['cell'].to_numpy()[row < 0][0]} is not in the table of cells")
    settings = cells[list(factors)].iloc[row].reset_index(drop=True)
    joined: pd.DataFrame = pd.concat([settings, table], axis=1)
    return joined


def failures_table(fits: pd.DataFrame, estimators: Sequence[str] | None = None) -> pd.DataFrame:
    """Count the fits of every cell and method by status.

    Parameters
    ----------
    fits : DataFrame
        cell, estimator, status, admissible; any number of cells.
    estimators : sequence of str, optional
        Methods in the order wanted; by default alphabetical.

    Returns
    -------
    DataFrame
        cell, estimator, attempted, converged (status OK), inadmissible (among the converged), then one column a status:
        `STATUSES` always, others when they occur.  Tables of single cells can be concatenated and `fillna(0)`-ed.
    """
    methods = list(estimators) if estimators is not None else distinct(fits["estimator"])
    return failures_of([count_statuses(fits, methods)], methods)


@dataclass(frozen=True)
class StatusCounts:
    """Fits of C cells by method and status.

    Attributes
    ----------
    cells : (C,)
    statuses : tuple of str
    counts : (C, E, statuses)
    improper : (C, E)
        Inadmissible solutions among the converged.
    """

    cells: IntArray
    statuses: tuple[str, ...]
    counts: IntArray
    improper: IntArray


def count_statuses(fits: pd.DataFrame, methods: Sequence[str]) -> StatusCounts:
    """Count the fits of some cells; rows of `failures_of`."""
    statuses = (*STATUSES, *(status for status in distinct(fits["status"]) if status not in STATUSES))
    method, status = codes(fits["estimator"], methods), codes(fits["status"], statuses)
    cells, cell = np.unique(fits["cell"].to_numpy(dtype=np.int64), return_inverse=True)
    wanted = (method >= 0) & (status >= 0)
    slot = (cell * len(methods) + method)[wanted]
    rows = len(cells) * len(methods)
    counts = np.bincount(slot * len(statuses) + status[wanted], minlength=rows * len(statuses))
    admissible = fits["admissible"].to_numpy(dtype=np.bool_, na_value=False)[wanted]
    improper = np.bincount(slot[(status[wanted] == 0) & ~admissible], minlength=rows)
    shape = (len(cells), len(methods))
    return StatusCounts(cells, statuses, counts.reshape(*shape, len(statuses)), improper.reshape(shape))


def failures_of(counted: Sequence[StatusCounts], methods: Sequence[str]) -> pd.DataFrame:
    """`failures_table` of cells that were counted one by one."""
    statuses = list(dict.fromkeys([*STATUSES, *(status for part in counted for status in part.statuses)]))
    n_cells = sum(len(part.cells) for part in counted)
    counts = np.zeros((n_cells, len(methods), len(statuses)), dtype=np.int64)
    start = 0
    for part in counted:
        rows = slice(start, start + len(part.cells))
        counts[rows][..., [statuses.index(status) for status in part.statuses]] = part.counts
        start = rows.stop
    flat = counts.reshape(-1, len(statuses))
    cells = np.concatenate([part.cells for part in counted]) if counted else np.zeros(0, dtype=np.int64)
    improper = np.concatenate([part.improper.ravel() for part in counted]) if counted else np.zeros(0, dtype=np.int64)
    table = pd.DataFrame(
        {
            "cell": np.repeat(cells, len(methods)).astype(np.int32),
            "estimator": pd.array(list(methods) * n_cells, dtype="str"),
            "attempted": flat.sum(axis=1),
            "converged": flat[:, 0],
            "inadmissible": improper.astype(np.int64),
            **{name: flat[:, column] for column, name in enumerate(statuses)},
        }
    )
    return table[table["attempted"] > 0].reset_index(drop=True)

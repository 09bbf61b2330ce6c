"""Tables of a whole study: performance of every cell, and the failures of every method."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from simstudy.errors import StoreError
from simstudy.performance.cell import COLUMNS
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
    statuses = [*STATUSES, *(status for status in distinct(fits["status"]) if status not in STATUSES)]
    method, status = codes(fits["estimator"], methods), codes(fits["status"], statuses)
    cell_numbers, cell = np.unique(fits["cell"].to_numpy(dtype=np.int64), return_inverse=True)
    wanted = (method >= 0) & (status >= 0)
    slot = (cell * len(methods) + method)[wanted]
    shape = (len(cell_numbers) * len(methods), len(statuses))
    counts = np.bincount(slot * shape[1] + status[wanted], minlength=shape[0] * shape[1]).reshape(shape)
    admissible = fits["admissible"].to_numpy(dtype=np.bool_, na_value=False)[wanted]
    improper = (status[wanted] == 0) & ~admissible
    table = pd.DataFrame(
        {
            "cell": np.repeat(cell_numbers, len(methods)).astype(np.int32),
            "estimator": np.tile(np.array(methods, dtype="object"), len(cell_numbers)),
            "attempted": counts.sum(axis=1).astype(np.int64),
            "converged": counts[:, 0].astype(np.int64),
            "inadmissible": np.bincount(slot[improper], minlength=shape[0]).astype(np.int64),
            **{name: counts[:, column].astype(np.int64) for column, name in enumerate(statuses)},
        }
    ).astype({"estimator": "str"})
    return table[table["attempted"] > 0].reset_index(drop=True)

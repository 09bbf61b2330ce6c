"""Results of studies made elsewhere: the same measures, tables and effects of factors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from simstudy.analysis.read import read_data
from simstudy.errors import SimstudyError
from simstudy.performance import (
    Foreign,
    count_statuses,
    failures_of,
    find_columns,
    performance_table,
    read_foreign,
    summarise_cell,
)
from simstudy.requests.foreign import ForeignRequest
from simstudy.requests.option import check, takes

COLUMNS = ("estimate", "se", "truth", "lower", "upper", "method", "parameter", "rep", "converged")

__all__ = ["Imported", "import_results", "performance_of"]


@dataclass(frozen=True)
class Imported:
    """What a study made elsewhere came to.

    Attributes
    ----------
    name : str
    performance, failures : DataFrame
    factors : tuple of str
    level : float
        Of the Wald intervals.
    replications : int
    notes : tuple of str
        What was assumed about the columns.
    """

    name: str
    performance: pd.DataFrame
    failures: pd.DataFrame
    factors: tuple[str, ...]
    level: float
    replications: int
    notes: tuple[str, ...] = field(default=())

    @property
    def failed_everywhere(self) -> list[str]:
        """Methods that converged in no replicate."""
        converged = self.failures.groupby("estimator", sort=False)["converged"].sum()
        return [str(name) for name, count in converged.items() if count == 0]


@takes(ForeignRequest)
def performance_of(request: ForeignRequest) -> pd.DataFrame:
    """Performance table of a simulation study made with any software, from one long table of its estimates.

    Columns with usual names (``estimate`` or ``est``, ``se``, ``method``, ``rep``, ...) are found.  Without limits,
    intervals are estimate -+ z SE.

    Returns
    -------
    DataFrame
        As `simstudy.analyse` returns it.

    Raises
    ------
    SimstudyError
        With everything that is wrong with the table.

    Examples
    --------
    >>> import pandas as pd, simstudy
    >>> rows = {"rep": [1, 2, 3], "estimate": [0.9, 1.2, 1.1], "se": [0.2, 0.2, 0.2], "truth": [1.0, 1.0, 1.0]}
    >>> table = simstudy.performance_of(pd.DataFrame(rows))
    >>> table.loc[(table["measure"] == "bias") & (table["basis"] == "casewise"), "value"].round(3).tolist()
    [0.067]
    """
    return import_results(**vars(request)).performance


@takes(ForeignRequest)
def import_results(request: ForeignRequest) -> Imported:
    """`performance_of`, returning failures and notes as well."""
    check(request)
    data = request.data
    name = "results" if isinstance(data, pd.DataFrame) else Path(data).name
    table = data if isinstance(data, pd.DataFrame) else read_data(data)
    if table.empty:
        raise SimstudyError(f"{name}: the table has no rows")
    columns = {column: getattr(request, column) for column in COLUMNS}
    found = read_foreign(table, find_columns(table, columns, request.by), request.replications)
    return _summarised(found, name, request.level, request.reference)


def _summarised(found: Foreign, name: str, level: float, reference: str | None) -> Imported:
    summaries, counted = [], []
    rows_of, fits_of = (_by_cell(table, len(found.cells)) for table in (found.replicates, found.fits))
    for replicates, fits in zip(rows_of, fits_of, strict=True):
        summaries.append(
            summarise_cell(
                replicates,
                fits,
                found.truth,
                estimators=found.methods,
                params=found.params,
                level=level,
                reference=reference,
            )
        )
        counted.append(count_statuses(fits, found.methods))
    performance = performance_table(summaries, found.cells, found.factors)
    failed = failures_of(counted, found.methods)
    return Imported(name, performance, failed, found.factors, level, found.replications, found.notes)


def _by_cell(table: pd.DataFrame, n_cells: int) -> list[pd.DataFrame]:
    """Rows of each cell; sorted once, whatever the order they come in."""
    cell = table["cell"].to_numpy()
    ordered = table.iloc[np.argsort(cell, kind="stable")]
    edges = np.searchsorted(np.sort(cell), np.arange(n_cells + 1))
    return [ordered.iloc[edges[k] : edges[k + 1]] for k in range(n_cells)]

"""Which rows of a performance table a figure shows; names are checked first, with one message a problem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from simstudy.errors import SimstudyError, did_you_mean
from simstudy.performance import BASES, COLUMNS, PAIRED, measure_names
from simstudy.report.tables.text import setting

MAX_NAMED = 3
"""Methods that are named in a file name."""


@dataclass(frozen=True)
class Selection:
    """Rows wanted.

    Parameters
    ----------
    basis : str
        ``casewise`` or ``common``.
    se_kind : str, optional
        Kind of SE for the methods that have it; otherwise, and for the others, each method's first.
    estimators : sequence of str, optional
        Methods; all by default.
    cells : sequence of int, optional
        Cells; all by default.
    where : mapping
        Factor -> level to keep.
    """

    basis: str = "casewise"
    se_kind: str | None = None
    estimators: Sequence[str] | None = None
    cells: Sequence[int] | None = None
    where: Mapping[str, object] = field(default_factory=dict)

    def words(self, x: str | None = None) -> list[str]:
        """Parts of a file name that say what was chosen, so that one figure does not overwrite another."""
        methods = list(self.estimators or ())
        return [
            f"by-{x}" if x else "",
            "" if self.basis == "casewise" else self.basis,
            self.se_kind or "",
            "-".join(methods) if len(methods) <= MAX_NAMED else f"{len(methods)}-methods",
            *(f"{name}-{setting(level)}" for name, level in self.where.items()),
            f"cell-{'-'.join(str(cell) for cell in self.cells)}" if self.cells else "",
        ]


def factor_columns(performance: pd.DataFrame) -> list[str]:
    """Columns of a performance table that are design factors: those that every such table does not have."""
    return [str(name) for name in performance.columns if name not in COLUMNS]


def unknown(what: str, name: object, allowed: Sequence[object]) -> str:
    """Message about a name that does not exist."""
    texts = [str(known) for known in allowed]
    shown = ", ".join(texts) if len(texts) <= 40 else f"{', '.join(texts[:40])}, ..."
    return f"{what}: there is no '{name}'{did_you_mean(str(name), texts)}; allowed: {shown or 'none'}"


def check_name(what: str, name: str, allowed: Iterable[object]) -> None:
    """Refuse an unknown name.

    Raises
    ------
    SimstudyError
    """
    known = list(allowed)
    if name not in known:
        raise SimstudyError(unknown(what, name, known))


def names_in(table: pd.DataFrame, column: str) -> list[str]:
    """Distinct names of a column, in order, without the empty one."""
    return [str(name) for name in table[column].unique() if name]


def chosen_cells(table: pd.DataFrame, cells: Sequence[int] | None, where: Mapping[str, object]) -> pd.DataFrame:
    """Rows of the cells asked for, by number or by levels of factors.

    Raises
    ------
    SimstudyError
        One problem for each cell, factor or level that does not exist.
    """
    problems = []
    if cells is not None:
        known = sorted({int(cell) for cell in table["cell"].unique()})
        shown = f"{known[0]} to {known[-1]}" if known else "none"
        problems += [f"cell: there is no cell {cell}; allowed: {shown}" for cell in cells if cell not in set(known)]
        table = table[table["cell"].isin(list(cells))]
    for factor, level in where.items():
        factors = factor_columns(table)
        if factor not in factors:
            problems.append(unknown("where", factor, factors))
            continue
        levels = [setting(value) for value in table[factor]]
        if levels and setting(level) not in levels:
            found = unknown(f"where {factor}", setting(level), list(dict.fromkeys(levels)))
            problems.append(found)
            continue
        table = table[[value == setting(level) for value in levels]]
    if problems:
        raise SimstudyError(problems)
    return table


def select(performance: pd.DataFrame, measures: Sequence[str], parameter: str, wanted: Selection) -> pd.DataFrame:
    """Rows of a performance table that a figure draws: one a cell, method and measure.

    Parameters
    ----------
    performance : DataFrame
        Long performance table with its factor columns.
    measures : sequence of str
        Differences from a reference method are always of basis ``paired``, whatever `wanted` says.
    parameter : str
        Empty for measures that belong to no parameter (convergence).
    wanted : Selection

    Returns
    -------
    DataFrame
        Columns of the performance table, in its order.

    Raises
    ------
    SimstudyError
        If a name is unknown or nothing is left.
    """
    if performance.empty:
        raise SimstudyError("there are no finished replicates yet")
    if parameter:
        check_name("parameter", parameter, names_in(performance, "parameter"))
    own = performance[performance["parameter"] == parameter]
    for measure in measures:
        check_name(f"measure{'' if parameter else ' without a parameter'}", measure, names_in(own, "measure"))
    check_name("basis", wanted.basis, BASES)
    methods = names_in(performance, "estimator")
    for name in wanted.estimators or ():
        check_name("estimator", name, methods)
    if wanted.se_kind is not None:
        check_name("se_kind", wanted.se_kind, names_in(performance, "se_kind"))
    rows = own[own["measure"].isin(list(measures))]
    basis = wanted.basis if parameter else BASES[0]
    rows = rows[rows["basis"] == np.where(rows["measure"].isin(measure_names("pair")), PAIRED, basis)]
    without = [name for name in measures if name not in set(rows["measure"])]
    if without:
        raise SimstudyError(f"basis: there is no '{wanted.basis}' of {', '.join(without)}")
    if wanted.estimators:
        rows = rows[rows["estimator"].isin(list(wanted.estimators))]
    rows = chosen_cells(rows, wanted.cells, wanted.where)
    if rows.empty:
        raise SimstudyError(
            f"no rows for parameter '{parameter}', measure {', '.join(measures)}, basis '{wanted.basis}', cells "
            f"{list(wanted.cells) if wanted.cells is not None else 'all'} and where = {dict(wanted.where)}"
        )
    if wanted.se_kind is not None:
        preferred = (rows["se_kind"] == wanted.se_kind).to_numpy()
        rows = rows.iloc[np.argsort(~preferred, kind="stable")]
    return rows.drop_duplicates(["cell", "estimator", "measure"]).sort_index()


def figure_data(
    performance: pd.DataFrame,
    measure: str,
    parameter: str,
    *,
    basis: str = "casewise",
    se_kind: str | None = None,
    where: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """Rows of one measure and parameter, one a cell and method (`select`)."""
    return select(performance, [measure], parameter, Selection(basis, se_kind, where=where or {}))

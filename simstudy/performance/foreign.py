"""Results of a study made elsewhere: one long table of estimates -> the tables that this package works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from simstudy.errors import DataError
from simstudy.performance.foreign_columns import Columns, as_flags, as_numbers, factor_name
from simstudy.performance.moments import BoolArray, FloatArray, IntArray

NOT_CONVERGED, NO_ROW, NONFINITE, OK = "NOT_CONVERGED", "NO_ROW", "NONFINITE", "OK"
FILE_KIND = "model"
"""Kind of SE of a table that does not say."""


@dataclass(frozen=True)
class Foreign:
    """A study made elsewhere.

    Parameters
    ----------
    replicates, fits, truth, cells : DataFrame
        In the schema of results folders.
    factors, methods, params : tuple of str
        Design factors; methods and parameters in order of appearance.
    replications : int
        Largest number of replicates of a cell.
    notes : tuple of str
        What was assumed.
    """

    replicates: pd.DataFrame
    fits: pd.DataFrame
    truth: pd.DataFrame
    cells: pd.DataFrame
    factors: tuple[str, ...]
    methods: tuple[str, ...]
    params: tuple[str, ...]
    replications: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Rows:
    """Codes and numbers of each row, (N,)."""

    cell: IntArray
    method: IntArray
    param: IntArray
    rep: IntArray
    estimate: FloatArray
    se: FloatArray
    truth: FloatArray
    lower: FloatArray
    upper: FloatArray
    converged: BoolArray


def read_foreign(data: pd.DataFrame, columns: Columns, replications: int | None = None) -> Foreign:
    """Check a long table of estimates and bring it into the schema of a results folder.

    A row is one estimate: of a parameter, by a method, in a replicate of a cell.  A replicate that one method of a cell
    has and another has not is a failure of the other (`NO_ROW`); with `replications`, so is what is missing to that
    number.  A replicate without any finite estimate is a failure too (`NONFINITE`), as is one that is marked as not
    converged (`NOT_CONVERGED`).

    Parameters
    ----------
    data : DataFrame
        Long table.
    columns : Columns
        Which column is what.
    replications : int, optional
        Replicates tried in each cell by each method.

    Raises
    ------
    DataError
        With everything that is wrong.
    """
    notes = list(columns.notes)
    settings, cell = _cells(data, columns.by)
    methods, method = _names(data, columns.method, "method", "all")
    params, param = _names(data, columns.parameter, "parameter", "estimate")
    problems: list[str] = []
    group = (cell * len(methods) + method) * len(params) + param
    rep, labels = _replicates(data, columns, group, notes, problems)
    numbers = {name: as_numbers(data, name, getattr(columns, name), problems) for name in _NUMBERS}
    numbers["truth"] = as_numbers(data, "truth", columns.truth, problems)
    converged = as_flags(data, columns.converged, problems)
    _check_numbers(numbers, columns, problems)
    rows = _Rows(cell, method, param, rep, converged=converged, **numbers)
    where = _Where(settings, methods, params)
    if not problems:
        _check_repeats(rows, group, labels, where, problems)
        truth = _truth(rows, len(params), where, columns, problems)
    if problems:
        raise DataError(problems)
    names = tuple(factor_name(name) for name in columns.by)
    cells = settings.set_axis(list(names), axis=1).assign(cell=np.arange(len(settings), dtype=np.int32))
    fits, tried = _fits(rows, len(settings), methods, replications)
    if replications is None and fits["status"].eq(NO_ROW).any():
        notes.append("a replicate that one method has and another has not counts as failed for the other")
    return Foreign(
        _replicate_table(rows, methods, params),
        fits,
        truth,
        cells,
        names,
        tuple(methods),
        tuple(params),
        tried,
        tuple(notes),
    )


_NUMBERS = ("estimate", "se", "lower", "upper")


@dataclass(frozen=True)
class _Where:
    """Names, for messages."""

    settings: pd.DataFrame
    methods: Sequence[str]
    params: Sequence[str]

    def say(self, cell: int, method: int | None, param: int) -> str:
        row = self.settings.iloc[cell]
        parts = [f"{name} = {row[name]}" for name in self.settings.columns]
        parts += [f"method {self.methods[method]}"] if method is not None and len(self.methods) > 1 else []
        parts += [f"parameter {self.params[param]}"] if len(self.params) > 1 else []
        return ", ".join(parts) or "the only cell"


def _cells(data: pd.DataFrame, by: Sequence[str]) -> tuple[pd.DataFrame, IntArray]:
    """Settings of each cell in order of appearance, and the cell of each row."""
    if not by:
        return pd.DataFrame(index=range(1)), np.zeros(len(data), dtype=np.int64)
    missing = [name for name in by if data[name].isna().any()]
    if missing:
        raise DataError([f"by: column '{name}' has missing values; every row needs its cell" for name in missing])
    code = np.asarray(data.groupby(list(by), sort=False, observed=True).ngroup(), dtype=np.int64)
    first = pd.Series(code).drop_duplicates().index
    return data[list(by)].iloc[first].reset_index(drop=True), code


def _names(data: pd.DataFrame, column: str | None, what: str, only: str) -> tuple[list[str], IntArray]:
    """Distinct names in order of appearance, and the place of each row's."""
    if column is None:
        return [only], np.zeros(len(data), dtype=np.int64)
    if data[column].isna().any():
        raise DataError(f"{what}: column '{column}' has missing values; every row needs one")
    values = data[column]
    if pd.api.types.is_float_dtype(values) and (values == values.round()).all():
        values = values.astype("int64")  # codes that a missing value somewhere once made floats
    code, names = pd.factorize(values.astype("str"))
    return [str(name) for name in names], np.asarray(code, dtype=np.int64)


def _replicates(
    data: pd.DataFrame, columns: Columns, group: IntArray, notes: list[str], problems: list[str]
) -> tuple[IntArray, list[str]]:
    """Replicate of each row from 0, and their names; by position within a cell, method and parameter if without."""
    if columns.rep is None:
        notes.append("there is no replicate column: the first rows of two methods are taken as the same replicate")
        return np.asarray(pd.Series(group).groupby(group).cumcount(), dtype=np.int64), []
    if data[columns.rep].isna().any():
        problems.append(f"rep: column '{columns.rep}' has missing values; every row needs its replicate")
    code, labels = pd.factorize(data[columns.rep], sort=True)
    return np.asarray(code, dtype=np.int64), [str(label) for label in labels]


def _check_numbers(numbers: dict[str, FloatArray], columns: Columns, problems: list[str]) -> None:
    """Negative SEs, limits in the wrong order, one limit without the other."""
    negative = np.flatnonzero(numbers["se"] < 0)
    if len(negative):
        row = negative[0]
        problems.append(
            f"se: column '{columns.se}' is negative in {len(negative)} rows, first in row {row + 1} "
            f"({numbers['se'][row]:g}); allowed: 0 or more"
        )
    lower, upper = numbers["lower"], numbers["upper"]
    crossed = np.flatnonzero(lower > upper)
    if len(crossed):
        row = crossed[0]
        problems.append(
            f"lower, upper: the lower limit is above the upper one in {len(crossed)} rows, first in row {row + 1} "
            f"({lower[row]:g} > {upper[row]:g}); are the columns the wrong way round?"
        )
    if (columns.lower is None) != (columns.upper is None):
        problems.append("lower, upper: an interval needs both columns")
    if not np.isfinite(numbers["estimate"]).any():
        problems.append(f"estimate: column '{columns.estimate}' has no number")


def _check_repeats(rows: _Rows, group: IntArray, labels: list[str], where: _Where, problems: list[str]) -> None:
    """A replicate that occurs twice: often a factor that was not named with `by`."""
    key = group * (int(rows.rep.max(initial=0)) + 1) + rows.rep
    _, first, counts = np.unique(key, return_index=True, return_counts=True)
    repeated = first[counts > 1]
    if labels and len(repeated):
        row = repeated[0]
        problems.append(
            f"rep: {len(repeated)} replicates occur more than once, first replicate {labels[rows.rep[row]]} of "
            f"{where.say(int(rows.cell[row]), int(rows.method[row]), int(rows.param[row]))}; "
            "name the columns that tell the rows apart (by, method, parameter)"
        )


def _truth(rows: _Rows, n_params: int, where: _Where, columns: Columns, problems: list[str]) -> pd.DataFrame:
    """One true value a cell and parameter."""
    n_cells = len(where.settings)
    slot = rows.cell * n_params + rows.param
    known = np.isfinite(rows.truth)
    low = np.full(n_cells * n_params, np.inf)
    high = np.full(n_cells * n_params, -np.inf)
    np.minimum.at(low, slot[known], rows.truth[known])
    np.maximum.at(high, slot[known], rows.truth[known])
    differing = np.flatnonzero(np.isfinite(low) & (low != high))
    if len(differing):
        place = int(differing[0])
        problems.append(
            f"truth: column '{columns.truth}' has different values in one cell, first {low[place]:g} and "
            f"{high[place]:g} in {where.say(place // n_params, None, place % n_params)}; "
            "name the factors that tell the cells apart (by)"
        )
    values = np.where(np.isfinite(low), low, np.nan)
    return pd.DataFrame(
        {
            "cell": np.repeat(np.arange(n_cells), n_params),
            "param": list(where.params) * n_cells,
            "level": "",
            "truth": values,
        }
    )


def _fits(rows: _Rows, n_cells: int, methods: Sequence[str], replications: int | None) -> tuple[pd.DataFrame, int]:
    """One row a cell, method and replicate tried, and the largest number of replicates of a cell."""
    n_methods = len(methods)
    n_reps = int(rows.rep.max(initial=-1)) + 1
    shape = (n_cells, n_methods, n_reps)
    there, finite, good = (np.zeros(shape, dtype=np.bool_) for _ in range(3))
    place = (rows.cell, rows.method, rows.rep)
    there[place] = True
    np.logical_or.at(finite, place, np.isfinite(rows.estimate))
    good[:] = True
    np.logical_and.at(good, place, rows.converged)
    seen = there.any(axis=1, keepdims=True)
    counted = int(seen.sum(axis=2).max(initial=0))
    if replications is not None and counted > replications:
        raise DataError(f"replications: found {replications}; a cell has {counted} replicates")
    status = np.where(~there, NO_ROW, np.where(~good, NOT_CONVERGED, np.where(finite, OK, NONFINITE)))
    cell, method, rep = np.nonzero(np.broadcast_to(seen, shape))
    table = {"cell": cell, "rep": rep, "method": method, "status": status[cell, method, rep].astype(object)}
    if replications is not None:
        lost = replications - seen.sum(axis=2)[:, 0]
        cells = np.repeat(np.arange(n_cells), lost * n_methods)
        reps = np.concatenate([n_reps + np.arange(k).repeat(n_methods) for k in lost]) if n_cells else cells
        more = {"cell": cells, "rep": reps, "method": np.tile(np.arange(n_methods), int(lost.sum()))}
        more["status"] = np.full(len(cells), NO_ROW, dtype=object)
        table = {name: np.concatenate([table[name], more[name]]) for name in table}
    frame = pd.DataFrame(table)
    frame["estimator"] = pd.Categorical.from_codes(frame.pop("method").to_numpy(), categories=pd.Index(methods))
    frame["admissible"] = frame["status"] == OK
    return frame, replications or counted


def _replicate_table(rows: _Rows, methods: Sequence[str], params: Sequence[str]) -> pd.DataFrame:
    one_kind = np.zeros(len(rows.cell), dtype=np.int8)
    return pd.DataFrame(
        {
            "cell": rows.cell,
            "rep": rows.rep,
            "estimator": pd.Categorical.from_codes(rows.method, categories=pd.Index(methods)),
            "se_kind": pd.Categorical.from_codes(one_kind, categories=pd.Index([FILE_KIND])),
            "param": pd.Categorical.from_codes(rows.param, categories=pd.Index(params)),
            **{name: getattr(rows, name) for name in _NUMBERS},
        }
    )

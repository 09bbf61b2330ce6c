"""Long tables of one cell -> arrays with one contiguous vector over replicates per method, kind of SE and parameter.

Replicate rows come part by part, and each part is let go when its numbers are in place: memory holds 8 bytes a number
of one cell, whatever the size of the study.

Replicates are sorted by their number here and nowhere else: whatever order parts of a study arrive in, the arrays are
the same, and so is every bit of what is computed from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from simstudy.errors import StoreError
from simstudy.performance.moments import BoolArray, FloatArray, IntArray

KNOWN_SE_KINDS: tuple[str, ...] = ("expected", "observed", "model", "fixed_x", "robust", "sandwich", "cluster")
INTERVAL_KINDS: tuple[str, ...] = ("wald", "montecarlo", "bootstrap")
OK, NOT_SUPPORTED = "OK", "NOT_SUPPORTED"


@dataclass(frozen=True)
class FitArrays:
    """Facts about each fit, (E, R) methods by replicates.

    Parameters
    ----------
    attempted : ndarray of bool
        A row exists.
    supported : ndarray of bool
        Attempted, and the status is not NOT_SUPPORTED.
    ok : ndarray of bool
        Converged: status OK.
    admissible : ndarray of bool
        Converged to an admissible solution.
    """

    attempted: BoolArray
    supported: BoolArray
    ok: BoolArray
    admissible: BoolArray


@dataclass(frozen=True)
class CellArrays:
    """One cell: E methods, G pairs of (method, kind of SE), k parameters, R replicates.

    Parameters
    ----------
    fits : FitArrays
        Facts about each fit.
    pairs : tuple of (int, str)
        Index of the method and kind of SE of each pair, methods in the order asked for, kinds in `kind_order`.
    present : ndarray of bool, (G, k)
        The table has rows for this pair and parameter.
    estimate : ndarray, (E, k, R)
        Estimates of the converged replicates, one set per method; NaN elsewhere.
    se, lower, upper : tuple of G ndarrays, (k, R)
        Standard errors and explicit limits (NaN: none, use Wald), NaN where the replicate did not converge; limits are
        None for a pair that has no explicit ones.
    """

    fits: FitArrays
    pairs: tuple[tuple[int, str], ...]
    present: BoolArray
    estimate: FloatArray
    se: tuple[FloatArray, ...]
    lower: tuple[FloatArray | None, ...]
    upper: tuple[FloatArray | None, ...]


def kind_order(kind: str) -> tuple[int, str]:
    """Sort key of kinds of SE: model-based, robust, unknown ones by name, then the kinds that are intervals only."""
    if kind in KNOWN_SE_KINDS:
        return (KNOWN_SE_KINDS.index(kind), kind)
    if kind in INTERVAL_KINDS:
        return (100 + INTERVAL_KINDS.index(kind), kind)
    return (50, kind)


def codes(column: pd.Series, names: Sequence[str]) -> IntArray:
    """Position of each entry of a text column (plain or dictionary-encoded) in `names`; -1 for what is not there."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        place = {name: k for k, name in enumerate(names)}
        lookup = np.array([*(place.get(name, -1) for name in column.cat.categories.tolist()), -1], dtype=np.int64)
        return lookup[column.cat.codes.to_numpy()]  # a missing category has code -1
    index = pd.Index(list(names), dtype="object")
    return np.asarray(index.get_indexer(pd.Index(column.astype("object"))), dtype=np.int64)


def distinct(column: pd.Series) -> list[str]:
    """Distinct entries of a text column, sorted."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        there = np.bincount(column.cat.codes.to_numpy() + 1, minlength=len(column.cat.categories) + 1)[1:]
        return sorted(str(name) for name, n in zip(column.cat.categories.tolist(), there.tolist(), strict=True) if n)
    return sorted(str(value) for value in column.dropna().unique())


def numbers(table: pd.DataFrame, column: str) -> FloatArray:
    """Numeric column, nullable or not, as float with NaN; a column that the table does not have is all NaN."""
    if column not in table.columns:
        return np.full(len(table), np.nan)
    return np.asarray(table[column].to_numpy(dtype=np.float64, na_value=np.nan))


def _refuse_duplicates(slots: IntArray, what: str, cell: int) -> None:
    """Raise if two rows want one place: counting a replicate twice would be silent and wrong."""
    repeated = len(slots) - len(np.unique(slots))
    if repeated:
        raise StoreError(
            f"cell {cell}: {repeated} of {len(slots)} rows of `{what}` repeat a replicate that is already there"
        )


def pivot_fits(fits: pd.DataFrame, reps: IntArray, estimators: Sequence[str], cell: int) -> FitArrays:
    """Statuses as (E, R) arrays."""
    method = codes(fits["estimator"], estimators)
    wanted = method >= 0
    slots = (method * len(reps) + np.searchsorted(reps, fits["rep"].to_numpy(dtype=np.int64)))[wanted]
    _refuse_duplicates(slots, "fits", cell)
    status = codes(fits["status"], (OK, NOT_SUPPORTED))[wanted]
    good = fits["admissible"].to_numpy(dtype=np.bool_, na_value=False)[wanted]

    def place(flag: BoolArray) -> BoolArray:
        flat = np.zeros(len(estimators) * len(reps), dtype=np.bool_)
        flat[slots] = flag
        return flat.reshape(len(estimators), len(reps))

    everything = np.ones(len(slots), dtype=np.bool_)
    return FitArrays(place(everything), place(status != 1), place(status == 0), place((status == 0) & good))


@dataclass
class _Places:
    """Numbers of one method and kind of SE, filled part by part: (k, R), NaN for what has not come."""

    se: FloatArray
    there: BoolArray
    lower: FloatArray | None = None
    upper: FloatArray | None = None

    def fill_limits(self, slots: tuple[IntArray, IntArray], lower: FloatArray, upper: FloatArray) -> None:
        """Put explicit limits in; without any, no memory is taken."""
        if np.isnan(lower).all() and np.isnan(upper).all():
            return
        if self.lower is None or self.upper is None:
            self.lower, self.upper = np.full_like(self.se, np.nan), np.full_like(self.se, np.nan)
        self.lower[slots], self.upper[slots] = lower, upper


class _Filling:
    """Arrays of a cell while its parts come in."""

    def __init__(self, facts: FitArrays, reps: IntArray, n_params: int, cell: int) -> None:
        self.facts, self.reps, self.cell = facts, reps, cell
        self.shape = (n_params, len(reps))
        self.estimate = np.full((len(facts.ok), *self.shape), np.nan)
        self.places: dict[tuple[int, str], _Places] = {}
        self.repeated = self.rows = 0

    def add(self, part: pd.DataFrame, estimators: Sequence[str], params: Sequence[str]) -> None:
        """Put the rows of one part in their places."""
        if len(part) and not (part["cell"].to_numpy() == self.cell).all():
            found = sorted({self.cell, *(int(cell) for cell in part["cell"].unique())})
            raise StoreError(f"expected the tables of one cell, found {len(found)}: {found[:5]}")
        method, param = codes(part["estimator"], estimators), codes(part["param"], params)
        rep, known = self._positions(part)
        kinds = distinct(part["se_kind"])
        kind = codes(part["se_kind"], kinds)
        wanted = (method >= 0) & (param >= 0) & (kind >= 0)
        lost = wanted & ~(known & self.facts.attempted[method, rep])
        if lost.any():
            unknown = np.unique(part["rep"].to_numpy(dtype=np.int64)[lost])
            raise StoreError(
                f"cell {self.cell}: replicate {unknown[0]} has estimates but no row in `fits` ({len(unknown)} such)"
            )
        columns = {name: numbers(part, name) for name in ("estimate", "se", "lower", "upper")}
        for code in np.unique((method * len(kinds) + kind)[wanted]).tolist():
            mine = int(code) // len(kinds), int(code) % len(kinds)
            rows = np.flatnonzero(wanted & (method == mine[0]) & (kind == mine[1]))
            values = {name: column[rows] for name, column in columns.items()}
            self._place(mine[0], kinds[mine[1]], (param[rows], rep[rows]), values)

    def _positions(self, part: pd.DataFrame) -> tuple[IntArray, BoolArray]:
        """Place of each row's replicate, and whether there is such a replicate."""
        numbers_there = part["rep"].to_numpy(dtype=np.int64)
        place = np.clip(np.searchsorted(self.reps, numbers_there), 0, max(len(self.reps) - 1, 0))
        return place, self.reps[place] == numbers_there if len(self.reps) else np.zeros(len(part), dtype=np.bool_)

    def _place(self, method: int, kind: str, slots: tuple[IntArray, IntArray], values: dict[str, FloatArray]) -> None:
        pair = (method, kind)
        if pair not in self.places:
            self.places[pair] = _Places(np.full(self.shape, np.nan), np.zeros(self.shape, dtype=np.bool_))
        mine = self.places[pair]
        flat = slots[0] * self.shape[1] + slots[1]
        self.rows += len(flat)
        self.repeated += int(mine.there[slots].sum()) + len(flat) - len(np.unique(flat))
        mine.there[slots] = True
        converged = self.facts.ok[method][slots[1]]
        values = {name: np.where(converged, column, np.nan) for name, column in values.items()}
        mine.se[slots] = values["se"]
        mine.fill_limits(slots, values["lower"], values["upper"])
        known, new = self.estimate[method][slots], values["estimate"]
        if np.any(np.isfinite(known) & np.isfinite(new) & (known != new)) and not self.repeated:
            raise StoreError(
                f"cell {self.cell}: a method has different estimates of one parameter under two kinds of SE"
            )
        self.estimate[method][slots] = np.where(np.isfinite(known), known, new)

    def finish(self) -> CellArrays:
        """Arrays in the order of methods and `kind_order`."""
        if self.repeated:
            raise StoreError(
                f"cell {self.cell}: {self.repeated} of {self.rows} rows of `replicates` repeat a replicate that is "
                "already there"
            )
        pairs = sorted(self.places, key=lambda pair: (pair[0], kind_order(pair[1])))
        places = [self.places[pair] for pair in pairs]
        present = np.array([mine.there.any(axis=1) for mine in places]).reshape(len(pairs), self.shape[0])
        return CellArrays(
            self.facts,
            tuple(pairs),
            present,
            self.estimate,
            tuple(mine.se for mine in places),
            tuple(mine.lower for mine in places),
            tuple(mine.upper for mine in places),
        )


def pivot_cell(
    parts: Iterable[pd.DataFrame], fits: pd.DataFrame, *, estimators: Sequence[str], params: Sequence[str], cell: int
) -> CellArrays:
    """Arrays of one cell, in the order of `estimators` and `params`; other methods and parameters are left out.

    Raises
    ------
    StoreError
        If a replicate occurs twice, has estimates without a row in `fits`, or two estimates of one parameter.
    """
    reps = np.unique(fits["rep"].to_numpy(dtype=np.int64))
    filling = _Filling(pivot_fits(fits, reps, estimators, cell), reps, len(params), cell)
    for part in parts:
        filling.add(part, estimators, params)
    return filling.finish()

"""Long tables of one cell -> arrays with one contiguous vector over replicates per method, kind of SE and parameter.

Replicates are sorted by their number here and nowhere else: whatever order parts of a study arrive in, the arrays are
the same, and so is every bit of what is computed from them.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    se, lower, upper : ndarray, (G, k, R)
        Standard errors and explicit limits (NaN: none, use Wald), NaN where the replicate did not converge.
    """

    fits: FitArrays
    pairs: tuple[tuple[int, str], ...]
    present: BoolArray
    estimate: FloatArray
    se: FloatArray
    lower: FloatArray
    upper: FloatArray


def kind_order(kind: str) -> tuple[int, str]:
    """Sort key of kinds of SE: model-based, robust, unknown ones by name, then the kinds that are intervals only."""
    if kind in KNOWN_SE_KINDS:
        return (KNOWN_SE_KINDS.index(kind), kind)
    if kind in INTERVAL_KINDS:
        return (100 + INTERVAL_KINDS.index(kind), kind)
    return (50, kind)


def codes(column: pd.Series, names: Sequence[str]) -> IntArray:
    """Position of each entry of a text column (plain or dictionary-encoded) in `names`; -1 for what is not there."""
    index = pd.Index(list(names), dtype="object")
    if isinstance(column.dtype, pd.CategoricalDtype):
        lookup = index.get_indexer(pd.Index(column.cat.categories.astype("object")))
        position = np.append(lookup, -1)[column.cat.codes.to_numpy()]  # a missing category has code -1
    else:
        position = index.get_indexer(pd.Index(column.astype("object")))
    return np.asarray(position, dtype=np.int64)


def distinct(column: pd.Series) -> list[str]:
    """Distinct entries of a text column, sorted."""
    return sorted(str(value) for value in column.dropna().unique())


def numbers(table: pd.DataFrame, column: str) -> FloatArray:
    """Numeric column, nullable or not, as float with NaN; a column that the table does not have is all NaN."""
    if column not in table.columns:
        return np.full(len(table), np.nan)
    return np.asarray(table[column].to_numpy(dtype=np.float64, na_value=np.nan))


def replicate_numbers(replicates: pd.DataFrame, fits: pd.DataFrame) -> IntArray:
    """Sorted replicate numbers of the cell."""
    both = [table["rep"].to_numpy(dtype=np.int64) for table in (replicates, fits)]
    return np.unique(np.concatenate(both))


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


def _one_estimate(estimates: FloatArray, owner: IntArray, n_estimators: int, cell: int) -> FloatArray:
    """Merge the estimates of a method's kinds of SE, (G, k, R) -> (E, k, R); they must be the same numbers."""
    merged = np.full((n_estimators, *estimates.shape[1:]), np.nan)
    for group, method in enumerate(owner):
        known, new = merged[method], estimates[group]
        if np.any(np.isfinite(known) & np.isfinite(new) & (known != new)):
            raise StoreError(f"cell {cell}: a method has different estimates of one parameter under two kinds of SE")
        merged[method] = np.where(np.isfinite(known), known, new)
    return merged


def pivot_cell(
    replicates: pd.DataFrame, fits: pd.DataFrame, *, estimators: Sequence[str], params: Sequence[str], cell: int
) -> CellArrays:
    """Arrays of one cell, in the order of `estimators` and `params`; other methods and parameters are left out.

    Raises
    ------
    StoreError
        If a replicate occurs twice, has estimates without a row in `fits`, or two estimates of one parameter.
    """
    reps = replicate_numbers(replicates, fits)
    facts = pivot_fits(fits, reps, estimators, cell)
    method, param = codes(replicates["estimator"], estimators), codes(replicates["param"], params)
    kinds = sorted(distinct(replicates["se_kind"]), key=kind_order)
    kind = codes(replicates["se_kind"], kinds)
    wanted = (method >= 0) & (param >= 0) & (kind >= 0)
    method, param, kind = method[wanted], param[wanted], kind[wanted]
    rep = np.searchsorted(reps, replicates["rep"].to_numpy(dtype=np.int64)[wanted])
    if not facts.attempted[method, rep].all():
        lost = np.unique(rep[~facts.attempted[method, rep]])
        raise StoreError(
            f"cell {cell}: replicate {reps[lost[0]]} has estimates but no row in `fits` ({len(lost)} such)"
        )

    occurring, group = np.unique(method * max(len(kinds), 1) + kind, return_inverse=True)
    owner = occurring // max(len(kinds), 1)
    pairs = tuple((int(m), kinds[int(code % len(kinds))]) for m, code in zip(owner, occurring, strict=True))
    shape = (len(pairs), len(params), len(reps))
    slots = (group * shape[1] + param) * shape[2] + rep
    _refuse_duplicates(slots, "replicates", cell)
    present = np.zeros(shape[:2], dtype=np.bool_)
    present[group, param] = True
    converged = facts.ok[method, rep]

    def place(column: str) -> FloatArray:
        flat = np.full(shape[0] * shape[1] * shape[2], np.nan)
        flat[slots] = np.where(converged, numbers(replicates, column)[wanted], np.nan)
        return flat.reshape(shape)

    estimate = _one_estimate(place("estimate"), owner, len(estimators), cell)
    return CellArrays(facts, pairs, present, estimate, place("se"), place("lower"), place("upper"))

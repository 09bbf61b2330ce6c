"""All performance measures of one cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray

from simstudy.errors import SimstudyError, StoreError, did_you_mean
from simstudy.performance.blocks import (
    Block,
    bound_blocks,
    fit_blocks,
    method_groups,
    paired_blocks,
    parameter_blocks,
)
from simstudy.performance.moments import FloatArray, IntArray
from simstudy.performance.pivot import codes, numbers, pivot_cell

COLUMNS: tuple[str, ...] = (
    "cell",
    "basis",
    "estimator",
    "se_kind",
    "parameter",
    "level",
    "truth",
    "measure",
    "value",
    "mcse",
    "n",
    "n_attempted",
    "reference",
    "mcse_jackknife",
)
"""Columns of a performance table; a study's factors stand before them."""


def _truth(truth: pd.DataFrame, params: Sequence[str], cell: int) -> tuple[FloatArray, list[str]]:
    """Truth (NaN if none) and level of each parameter."""
    rows = truth[truth["cell"].to_numpy() == cell] if "cell" in truth.columns else truth
    position = codes(rows["param"], params)
    values, levels = np.full(len(params), np.nan), [""] * len(params)
    for where, value, level in zip(position, numbers(rows, "truth"), rows["level"].astype("object"), strict=True):
        if where >= 0:
            values[where] = value
            levels[where] = level if isinstance(level, str) else ""
    return values, levels


def _cell_number(fits: pd.DataFrame) -> int:
    """Return the number of the only cell in the table."""
    found = sorted(int(value) for value in fits["cell"].unique())
    if len(found) != 1:
        raise StoreError(f"expected the tables of one cell, found {len(found)}: {found[:5]}")
    return found[0]


def summarise_cell(
    replicates: pd.DataFrame | Iterable[pd.DataFrame],
    fits: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    estimators: Sequence[str],
    params: Sequence[str],
    level: float,
    n_attempted: int | None = None,
    reference: str | None = None,
) -> pd.DataFrame:
    """Summarise every method's performance in one cell, with Monte Carlo standard errors.

    Parameters
    ----------
    replicates : DataFrame or iterable of DataFrame
        cell, rep, estimator, se_kind, param, estimate, se, lower, upper; missing limits mean Wald intervals.  Parts are
        taken one by one, in any order.
    fits : DataFrame
        cell, rep, estimator, status, admissible.
    truth : DataFrame
        cell, param, level, truth; other cells' rows are skipped.
    estimators, params : sequence of str
        Methods and parameters in the order of the rows wanted; what else the tables hold is left out, also when the
        common replicates are found.
    level : float
        Level of the Wald intervals, e.g. .95.
    n_attempted : int, optional
        Replicates attempted by every method; an attempt without a row in `fits` counts as not converged.  By default
        the rows in `fits`.
    reference : str, optional
        Method that the others are compared with on the same replicates (basis `paired`); by default the first.

    Returns
    -------
    DataFrame
        `COLUMNS`, ordered by basis, method, kind of SE, parameter, measure; convergence and admissibility first, with
        `se_kind` and `parameter` empty and basis `casewise` only.  `reference` is empty but on the basis `paired`;
        `mcse_jackknife` is NaN for measures whose `mcse` assumes nothing that the jackknife does without.

    Notes
    -----
    A replicate counts for a parameter if its status is OK and its estimate is finite, for SEs and intervals if these
    are finite too; `n` is that count.  Measures of the estimate alone are repeated under every kind of SE of a method,
    so that a filter on `se_kind` gives a complete table.  A parameter that a method does not speak about has rows with
    NaN and n = 0.
    """
    cell = _cell_number(fits)
    values, levels = _truth(truth, params, cell)
    parts = [replicates] if isinstance(replicates, pd.DataFrame) else replicates
    arrays = pivot_cell(parts, fits, estimators=estimators, params=params, cell=cell)
    attempts = arrays.fits.attempted.sum(axis=1)
    if n_attempted is not None:
        if attempts.max(initial=0) > n_attempted:
            raise StoreError(
                f"cell {cell}: {attempts.max()} replicates in `fits`, more than the {n_attempted} attempted"
            )
        attempts = np.full_like(attempts, n_attempted)
    groups = method_groups(arrays, level)
    blocks = list(fit_blocks(arrays, len(estimators), n_attempted))
    for basis in ("casewise", "common"):
        blocks.extend(parameter_blocks(arrays, groups, basis, values))
    blocks.extend(bound_blocks(arrays, groups, values, n_attempted))
    blocks.extend(paired_blocks(groups, _reference(reference, estimators), values))
    return _assemble(blocks, cell, estimators, params, (values, levels), attempts)


def _reference(name: str | None, estimators: Sequence[str]) -> int:
    """Position of the reference method."""
    if name is None:
        return 0
    if name not in estimators:
        allowed = ", ".join(estimators)
        raise SimstudyError(
            f"reference: there is no method '{name}'{did_you_mean(name, estimators)}; allowed: {allowed}"
        )
    return list(estimators).index(name)


def _assemble(
    blocks: Sequence[Block],
    cell: int,
    estimators: Sequence[str],
    params: Sequence[str],
    truth: tuple[FloatArray, list[str]],
    attempts: IntArray,
) -> pd.DataFrame:
    """Long table of the blocks; within a block, parameters then measures."""
    sizes = [len(block.params) * len(block.names) for block in blocks]
    of = np.repeat(np.arange(len(blocks)), sizes)

    def stack(field: str) -> FloatArray:
        parts = []
        for block in blocks:
            nothing = np.full(len(block.params), np.nan)
            found = [getattr(result, field) for result in block.results]
            parts.append(np.array([nothing if x is None else x for x in found], dtype=np.float64).T.ravel())
        return np.concatenate(parts)

    param = np.concatenate([np.repeat(block.params, len(block.names)) for block in blocks])  # -1: no parameter
    place = {name: k for k, name in enumerate(dict.fromkeys(name for block in blocks for name in block.names))}
    orders = {names: np.array([place[name] for name in names]) for names in {block.names for block in blocks}}
    measure = np.concatenate([np.tile(orders[block.names], len(block.params)) for block in blocks])
    columns = {
        "cell": np.full(sum(sizes), cell, dtype=np.int32),
        "basis": _texts([block.basis for block in blocks], of),
        "estimator": _texts([estimators[block.estimator] for block in blocks], of),
        "se_kind": _texts([block.se_kind for block in blocks], of),
        "parameter": _texts([*params, ""], param),
        "level": _texts([*truth[1], ""], param),
        "truth": np.append(truth[0], np.nan)[param],
        "measure": _texts(list(place), measure),
        "value": stack("value"),
        "mcse": stack("mcse"),
        "n": stack("n").astype(np.int64),
        "n_attempted": np.array([attempts[block.estimator] for block in blocks], dtype=np.int64)[of],
        "reference": _texts(["" if block.reference < 0 else estimators[block.reference] for block in blocks], of),
        "mcse_jackknife": stack("jackknife"),
    }
    return pd.DataFrame(columns, columns=list(COLUMNS))


def _texts(names: Sequence[str], where: IntArray) -> ExtensionArray:
    """Column of texts, each of which is made once; place -1 is the last."""
    return pd.array(list(names), dtype="str").take(np.where(where < 0, len(names) - 1, where))

"""All performance measures of one cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from simstudy.errors import StoreError
from simstudy.performance import measures, rates
from simstudy.performance.catalog import BASES, FIT_MEASURES, PARAMETER_MEASURES
from simstudy.performance.moments import BoolArray, FloatArray, IntArray, Measured
from simstudy.performance.pivot import CellArrays, codes, numbers, pivot_cell

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
)
"""Columns of a performance table; a study's factors stand before them."""


@dataclass(frozen=True)
class _Block:
    """Rows of one method, kind of SE and basis: measures by parameters, (M, k)."""

    basis: str
    estimator: int
    se_kind: str
    params: IntArray
    names: tuple[str, ...]
    results: tuple[Measured, ...]


def parameter_measures(
    estimate: FloatArray, se: FloatArray, lower: FloatArray, upper: FloatArray, truth: FloatArray, level: float
) -> Mapping[str, Measured]:
    """Every measure of k parameters from arrays (R, k) with NaN for what is missing.

    A limit that is NaN is the Wald limit, estimate -+ z SE with z the normal quantile of `level`.
    """
    z = float(ndtri(0.5 * (1.0 + level)))
    with np.errstate(over="ignore", invalid="ignore"):
        wald = np.isnan(lower) | np.isnan(upper)
        lower = np.where(wald, estimate - z * se, lower)
        upper = np.where(wald, estimate + z * se, upper)
    missing = ~np.isfinite(estimate)
    se, lower, upper = (np.where(missing, np.nan, x) for x in (se, lower, upper))
    return {
        "mean_estimate": measures.mean_estimate(estimate),
        "bias": measures.bias(estimate, truth),
        "relative_bias": measures.relative_bias(estimate, truth),
        "median_bias": measures.median_bias(estimate, truth),
        "empirical_se": measures.empirical_se(estimate),
        "mean_se": measures.mean_se(se),
        "model_se": measures.model_se(se),
        "se_ratio": measures.se_ratio(estimate, se),
        "rmse": measures.rmse(estimate, truth),
        "coverage": rates.coverage(lower, upper, truth),
        "bias_eliminated_coverage": rates.bias_eliminated_coverage(estimate, lower, upper),
        "rejection": rates.rejection(lower, upper),
        "ci_width": rates.ci_width(lower, upper),
    }


def common_replicates(estimate: FloatArray) -> BoolArray:
    """Replicates on which every method that ever has an estimate of the parameter has one, (E, k, R) -> (k, R)."""
    success = np.isfinite(estimate)
    speaks = success.any(axis=-1, keepdims=True)
    return np.asarray((success | ~speaks).all(axis=0))


def _fit_blocks(arrays: CellArrays, n_methods: int, n_attempted: int | None) -> Iterator[_Block]:
    """Convergence and admissibility of every method, case-wise: on common replicates both are 1 by construction."""
    fits = arrays.fits
    nobody = np.array([-1], dtype=np.int64)
    for method in range(n_methods):
        unrecorded = 0 if n_attempted is None else n_attempted - int(fits.attempted[method].sum())
        ok, admissible = fits.ok[method][:, None], fits.admissible[method][:, None]
        results = (
            rates.convergence(ok, fits.supported[method][:, None], unrecorded),
            rates.admissibility(ok, admissible),
        )
        yield _Block(BASES[0], method, "", nobody, FIT_MEASURES, results)


def _parameter_blocks(arrays: CellArrays, basis: str, truth: FloatArray, level: float) -> Iterator[_Block]:
    """Measures of every pair of method and kind of SE; what no row speaks about follows under the first kind."""
    common = common_replicates(arrays.estimate) if basis == "common" else np.array(True)
    for method in range(len(arrays.estimate)):
        groups = [group for group, pair in enumerate(arrays.pairs) if pair[0] == method]
        spoken = arrays.present[groups].any(axis=0)
        estimate = np.where(common, arrays.estimate[method], np.nan).T
        nothing = np.full_like(estimate, np.nan)
        for position, group in enumerate(groups or [-1]):
            se_kind, rows, limits = "", ~spoken, (nothing, nothing, nothing)
            if group >= 0:
                se_kind = arrays.pairs[group][1]
                rows = arrays.present[group] | (~spoken if position == 0 else False)
                limits = (arrays.se[group].T, arrays.lower[group].T, arrays.upper[group].T)
            keep = np.flatnonzero(rows)
            se, lower, upper = (x[:, keep] for x in limits)
            found = parameter_measures(estimate[:, keep], se, lower, upper, truth[keep], level)
            results = tuple(found[name] for name in PARAMETER_MEASURES)
            yield _Block(basis, method, se_kind, keep, PARAMETER_MEASURES, results)


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


def _cell_number(*tables: pd.DataFrame) -> int:
    """Return the number of the only cell in the tables."""
    found = sorted({int(value) for table in tables for value in table["cell"].unique()})
    if len(found) != 1:
        raise StoreError(f"expected the tables of one cell, found {len(found)}: {found[:5]}")
    return found[0]


def summarise_cell(
    replicates: pd.DataFrame,
    fits: pd.DataFrame,
    truth: pd.DataFrame,
    *,
    estimators: Sequence[str],
    params: Sequence[str],
    level: float,
    n_attempted: int | None = None,
) -> pd.DataFrame:
    """Summarise every method's performance in one cell, with Monte Carlo standard errors.

    Parameters
    ----------
    replicates : DataFrame
        cell, rep, estimator, se_kind, param, estimate, se, lower, upper; missing limits mean Wald intervals.
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

    Returns
    -------
    DataFrame
        `COLUMNS`, ordered by basis, method, kind of SE, parameter, measure; convergence and admissibility first, with
        `se_kind` and `parameter` empty and basis `casewise` only.

    Notes
    -----
    A replicate counts for a parameter if its status is OK and its estimate is finite, for SEs and intervals if these
    are finite too; `n` is that count.  Measures of the estimate alone are repeated under every kind of SE of a method,
    so that a filter on `se_kind` gives a complete table.  A parameter that a method does not speak about has rows with
    NaN and n = 0.
    """
    cell = _cell_number(replicates, fits)
    values, levels = _truth(truth, params, cell)
    arrays = pivot_cell(replicates, fits, estimators=estimators, params=params, cell=cell)
    attempts = arrays.fits.attempted.sum(axis=1)
    if n_attempted is not None:
        if attempts.max(initial=0) > n_attempted:
            raise StoreError(
                f"cell {cell}: {attempts.max()} replicates in `fits`, more than the {n_attempted} attempted"
            )
        attempts = np.full_like(attempts, n_attempted)
    blocks = list(_fit_blocks(arrays, len(estimators), n_attempted))
    for basis in BASES:
        blocks.extend(_parameter_blocks(arrays, basis, values, level))
    return _assemble(blocks, cell, estimators, params, (values, levels), attempts)


def _assemble(
    blocks: Sequence[_Block],
    cell: int,
    estimators: Sequence[str],
    params: Sequence[str],
    truth: tuple[FloatArray, list[str]],
    attempts: IntArray,
) -> pd.DataFrame:
    """Long table of the blocks; within a block, parameters then measures."""
    sizes = [len(block.params) * len(block.names) for block in blocks]

    def spread(values: Sequence[object], dtype: str = "object") -> np.ndarray[tuple[int], np.dtype[np.generic]]:
        return np.repeat(np.array(values, dtype=dtype), sizes)

    def stack(field: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        parts = [np.stack([result[field] for result in block.results], axis=-1).ravel() for block in blocks]
        return np.concatenate(parts)

    index = np.concatenate([np.repeat(block.params, len(block.names)) for block in blocks])  # -1: no parameter
    names = np.concatenate([np.tile(np.array(block.names, dtype="object"), len(block.params)) for block in blocks])
    columns = {
        "cell": np.full(sum(sizes), cell, dtype=np.int32),
        "basis": spread([block.basis for block in blocks]),
        "estimator": spread([estimators[block.estimator] for block in blocks]),
        "se_kind": spread([block.se_kind for block in blocks]),
        "parameter": np.array([*params, ""], dtype="object")[index],
        "level": np.array([*truth[1], ""], dtype="object")[index],
        "truth": np.append(truth[0], np.nan)[index],
        "measure": names,
        "value": stack(0),
        "mcse": stack(1),
        "n": stack(2).astype(np.int64),
        "n_attempted": spread([int(attempts[block.estimator]) for block in blocks], "int64"),
    }
    text = dict.fromkeys(("basis", "estimator", "se_kind", "parameter", "level", "measure"), "str")
    return pd.DataFrame(columns, columns=list(COLUMNS)).astype(text)

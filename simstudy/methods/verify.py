"""A look at what a method returns: whether it is a result, and its numbers are numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from simstudy.estimation.result import FitResult, Status
from simstudy.linalg.stacked import BoolArray
from simstudy.methods.protocol import Estimator
from simstudy.model.twolevel import TwoLevelModel

PROGRAM = ("wald", "montecarlo")
"""Names of intervals that the program makes."""
COLUMNS = ("cell", "rep", "estimator", "status", "admissible", "n_iter", "seconds")
"""Columns of the stored fits that no measure may be named like."""
_KINDS = {"f": "numbers", "i": "whole numbers", "b": "true or false"}


def check_result(
    result: object, method: Estimator, model: TwoLevelModel, n: int, level: float | None = None
) -> tuple[FitResult, dict[int, str]]:
    """Look at what a method returned for ``n`` data sets.

    Parameters
    ----------
    result : object
    method : Estimator
    model : TwoLevelModel
    n : int
    level : float, optional
        Level that intervals of the method's own must have.

    Returns
    -------
    FitResult
        Data sets with numbers that cannot be, reported as converged, are NONFINITE and blank: no estimate at all, an
        infinite one, a negative or infinite SE, an infinite log-likelihood, limits in the wrong order, or none under
        the name of a kind of SE where there is an SE.
    dict of int to str
        What is wrong with which data set.

    Raises
    ------
    ValueError
        If it is no result: parameters, kinds of SE, types, shapes or statuses are not those promised.
    """
    if not isinstance(result, FitResult):
        raise ValueError(f"fit() returned {what_is(result)}, not a FitResult")
    kinds = tuple(method.se_kinds)
    if tuple(result.labels) != model.names:
        raise ValueError(f"the result has the parameters {result.labels}, not {model.names}")
    if tuple(result.covariance) != kinds:
        raise ValueError(f"the result has the SE kinds {tuple(result.covariance)}, not {kinds}")
    if tuple(result.se) != kinds:
        raise ValueError(f"the result has SEs of the kinds {tuple(result.se)}, not {kinds}")
    q = len(model.names)
    _array("estimate", result.estimate, "f", (n, q))
    for kind in kinds:
        _array(f"covariance '{kind}'", result.covariance[kind], "f", (n, q, q))
        _array(f"se '{kind}'", result.se[kind], "f", (n, q))
    _array("status", result.status, "i", (n,))
    _array("admissible", result.admissible, "b", (n,))
    _array("n_iter", result.n_iter, "i", (n,))
    _array("loglik", result.loglik, "f", (n,))
    unknown = set(np.unique(result.status).tolist()) - {int(status) for status in Status}
    if unknown:
        known = ", ".join(f"{int(status)} {status.name}" for status in Status)
        raise ValueError(f"the result has the status {min(unknown)}; allowed: {known}")
    _check_intervals(result, method, model, n, level)
    result = replace(result, measures=_measures(result, n))
    return _numbers_of(result)


def _array(name: str, found: Any, kind: str, shape: tuple[int, ...]) -> None:
    if type(found) is not np.ndarray:
        raise ValueError(f"the result's {name} is {what_is(found)}, not a numpy array")
    if found.dtype.kind not in ("iu" if kind == "i" else kind) or (kind == "f" and found.dtype != np.float64):
        wanted = "64-bit floats" if kind == "f" else _KINDS[kind]
        raise ValueError(f"the result's {name} has the type {found.dtype}, not {wanted}")
    if found.shape != shape:
        raise ValueError(f"the result's {name} has the shape {found.shape}, not {shape}")


def what_is(found: object) -> str:
    """What was found in place of what should be: nothing, or its type."""
    return "nothing" if found is None else f"an object of the type {type(found).__name__}"


def _check_intervals(result: FitResult, method: Estimator, model: TwoLevelModel, n: int, level: float | None) -> None:
    allowed = (*method.se_kinds, *method.interval_kinds)
    widths = {len(model.names), len(model.reported)}
    for name, limits in result.intervals.items():
        if name in PROGRAM or name not in allowed:
            raise ValueError(
                f"the result has intervals '{name}'; allowed: {', '.join(allowed)} (its kinds of SE, and what it "
                f"names in interval_kinds, but not {' or '.join(PROGRAM)})"
            )
        if not isinstance(limits, tuple) or len(limits) != 2:
            raise ValueError(f"the result's intervals '{name}' are {what_is(limits)}, not a pair of arrays")
        width = np.shape(limits[0])[-1:]
        shape = (n, width[0] if width and width[0] in widths else len(model.names))
        for side, array in zip(("lower", "upper"), limits, strict=True):
            _array(f"{side} limits '{name}'", array, "f", shape)
    if result.intervals and level is not None and not np.isclose(method.interval_level, level, rtol=0, atol=1e-12):
        raise ValueError(
            f"its own intervals have the level {method.interval_level:g}, and {level:g} was asked for; "
            "give it an option 'interval_level'"
        )


def _measures(result: FitResult, n: int) -> dict[str, Any]:
    """Measures as 64-bit floats."""
    for name, values in result.measures.items():
        if not isinstance(name, str) or not name.isidentifier() or name in COLUMNS:
            raise ValueError(
                f"the result has a measure named {name!r}; allowed: letters, digits and '_', and none of "
                f"{', '.join(COLUMNS)}"
            )
        if type(values) is not np.ndarray or values.dtype.kind not in "fiub" or values.shape != (n,):
            found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else what_is(values)
            raise ValueError(f"the result's measure '{name}' is {found}, not an array of {n} numbers")
    return {name: values.astype(np.float64, copy=False) for name, values in result.measures.items()}


def _numbers_of(result: FitResult) -> tuple[FitResult, dict[int, str]]:
    reasons: dict[int, str] = {}
    ok, labels = result.converged, result.labels

    def note(bad: BoolArray, text: str) -> None:
        """Note faults of data sets (R,), or of data sets and parameters (R, k)."""
        rows = bad if bad.ndim == 1 else bad.any(axis=1)
        for row in np.flatnonzero(rows & ok).tolist():
            where = "" if bad.ndim == 1 else f" ('{labels[int(bad[row].argmax())]}')"
            reasons.setdefault(row, f"reported as converged, {text}{where}")

    q = len(labels)
    if q:
        note(np.asarray(np.isnan(result.estimate).all(axis=1)), "without any estimate")
    note(np.isinf(result.estimate), "with an infinite estimate")
    for kind, se in result.se.items():
        note(np.isinf(se), f"with an infinite SE '{kind}'")
        note(se < 0, f"with a negative SE '{kind}'")
    note(np.isinf(result.loglik), "with an infinite log-likelihood")
    for kind, (lower, upper) in result.intervals.items():
        note((lower > upper)[:, :q], f"with a lower limit '{kind}' above the upper one")
        if lower.shape[1] > q:
            note(np.asarray((lower > upper).any(axis=1)), f"with a lower limit '{kind}' above the upper one")
        if kind in result.se:
            gone = np.isnan(lower) | np.isnan(upper)
            note(gone[:, :q] & ~np.isnan(result.se[kind]), f"with an SE '{kind}' and no limits of that name")
    if not reasons:
        return result, {}
    faulty = np.zeros(result.n_replicates, dtype=bool)
    faulty[list(reasons)] = True
    status = np.where(faulty, int(Status.NONFINITE), result.status).astype(np.int64)
    return replace(result, status=status).blank(faulty), reasons

"""From the result of a method to the record of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from simstudy.analysis.context import Context
from simstudy.analysis.result import PARAMETER_COLUMNS, FitRecord
from simstudy.analysis.units import Units
from simstudy.analysis.unrestricted import with_intervals
from simstudy.estimation.result import Status
from simstudy.linalg.stacked import FloatArray
from simstudy.linalg.tails import normal_tail
from simstudy.model.twolevel import TwoLevelModel


def record_of(
    model: TwoLevelModel,
    context: Context,
    limits: tuple[FloatArray, FloatArray, tuple[str, ...]],
    asked: dict[str, Any],
    icc: dict[str, float],
    given: Sequence[str] = (),
) -> FitRecord:
    """The record of a fit: its table of parameters, its measures, what it was made of.

    Parameters
    ----------
    limits : (lower (q + d,), upper (q + d,), notes)
        As of `intervals.limits`.
    asked : dict
        Choices to remember.
    icc : dict
        ICC by variable.
    given : sequence of str
        Variables that the likelihood is conditional on: rows that have no others say nothing, and do not count.
    """
    result, sample = context.result, context.sample
    kind = next(iter(result.se))
    estimate, se = result.estimate[0], result.se[kind][0]
    lower, upper, notes = limits
    q = len(model.names)
    free = ~(np.diagonal(result.covariance[kind][0, :q, :q]) == 0)  # held: by a bound, or as a moment of fixed x
    rows = []
    for row in model.table.rows:
        i = row.free
        values = (
            (estimate[i], se[i], lower[i], upper[i], bool(free[i])) if i >= 0 else (row.value, *[np.nan] * 3, False)
        )
        if row.slope:  # the path is another number in every cluster
            values = (np.nan, *values[1:])
        rows.append(_parameter_row(row.lhs, row.op, row.rhs, row.level, row.label, *values))
    for k, (name, expression) in enumerate(model.estimands.definitions):
        i = q + k
        rows.append(_parameter_row(name, ":=", expression.text, "", name, estimate[i], se[i], lower[i], upper[i], True))
    measures = {name: float(value[0]) for name, value in result.measures.items()}
    measures.setdefault("loglik", float(result.loglik[0]))
    measures.setdefault("npar", float(np.sum(~np.isnan(estimate[:q]) & free)))
    there = ~np.isnan(sample.rows[0])
    modelled = [k for k, name in enumerate(sample.level1) if name not in given]
    n_obs = int(there[:, modelled].any(axis=1).sum())  # rows with any level-1 value count
    patterns = {tuple(row) for row in np.unique(there, axis=0).tolist()}
    return FitRecord(
        model=model,
        estimator=context.method.name,
        options=asked,
        n_obs=n_obs,
        n_clusters=sample.layout.n_clusters,
        sizes=sample.layout.sizes,
        n_patterns=len(patterns),
        n_dropped=int(there.any(axis=1).sum()) - n_obs,
        status=Status(int(result.status[0])),
        admissible=bool(result.admissible[0]),
        improper=_improper(model, estimate[:q], context.units, bool(result.admissible[0]), bool(result.converged[0])),
        n_iter=int(result.n_iter[0]),
        parameters=pd.DataFrame(rows, columns=list(PARAMETER_COLUMNS)),
        measures=with_intervals(measures, n_obs),
        icc=icc,
        params=estimate[:q],
        covariance=result.covariance[kind][0, :q, :q],
        notes=notes,
        context=context,
    )


def _parameter_row(
    lhs: str, op: str, rhs: str, level: str, label: str, est: float, se: float, lower: float, upper: float, free: bool
) -> tuple[Any, ...]:
    with np.errstate(all="ignore"):
        z = est / se if se > 0 else np.nan
    pvalue = 2.0 * float(normal_tail(abs(z))) if np.isfinite(z) else np.nan
    return lhs, op, rhs, level, label, est, se if free else np.nan, z, pvalue, lower, upper, free


def _improper(
    model: TwoLevelModel, params: FloatArray, units: Units | None, admissible: bool, converged: bool
) -> tuple[str, ...]:
    """What is inadmissible about the solution."""
    if admissible or not converged:
        return ()
    moderate = params if units is None else params * units.factors
    found = [
        f"{row.path} = {params[row.free]:.4g}"
        for row in model.table.rows
        if row.op == "~~" and row.lhs == row.rhs and row.free >= 0 and moderate[row.free] < -1e-10
    ]
    return tuple(found) or ("the between covariance matrix is not positive semidefinite",)

"""Which design factors matter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from simstudy import performance as measuring
from simstudy.api.study import up_to_date

__all__ = ["factor_effects"]


def factor_effects(
    source: pd.DataFrame | str | Path,
    *,
    factors: Sequence[str] | None = None,
    measures: Sequence[str] | None = None,
    parameters: Sequence[str] | None = None,
    estimators: Sequence[str] | None = None,
    outcome: str = "cells",
    order: int = 2,
    basis: str = "casewise",
) -> pd.DataFrame:
    """Eta squared of every design factor and interaction on each measure, per method, kind of SE and parameter.

    Parameters
    ----------
    source : DataFrame or path
        A performance table, or a results folder.
    factors, measures, parameters, estimators, outcome, order, basis
        As in `simstudy.performance.factor_effects`.

    Returns
    -------
    DataFrame
        estimator, se_kind, parameter, level, measure, term, order, df, sum_of_squares, eta_squared,
        partial_eta_squared, omega_squared, noise_share, n_cells, note.
    """
    table = source
    if not isinstance(table, pd.DataFrame):
        found = up_to_date(table)
        table, factors = found.performance, factors if factors is not None else found.manifest.factors
    return measuring.factor_effects(
        table,
        factors,
        measures=measures,
        parameters=parameters,
        estimators=estimators,
        outcome=outcome,
        order=order,
        basis=basis,
    )

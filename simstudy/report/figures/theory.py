"""Curves of theory in line panels: what simulated points are expected to follow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from simstudy.report.figures.panels import Axis, rows_at

FloatArray = npt.NDArray[np.float64]
FACTOR = "n_clusters"
"""The factor that theory knows a curve over."""


def theory_rows(theory: pd.DataFrame, data: pd.DataFrame, x: Axis) -> pd.DataFrame:
    """Rows of a table of theory that belong to simulated numbers.

    Parameters
    ----------
    theory : DataFrame
        Long table with the columns of a performance table, one row a number (`simstudy.api.theory_curve`, its best
        rows).
    data : DataFrame
        The numbers drawn.
    x : Axis

    Returns
    -------
    DataFrame
        Of the same parameter, measure, methods and kinds of SE; empty where the x axis is not the number of clusters.
    """
    if x.factor != FACTOR or not x.numeric:
        return theory.iloc[:0]
    rows = theory[(theory["parameter"] == data["parameter"].iloc[0]) & (theory["measure"] == data["measure"].iloc[0])]
    kinds = data.drop_duplicates("estimator")[["estimator", "se_kind"]]
    found: pd.DataFrame = rows.merge(kinds, on=["estimator", "se_kind"]).dropna(subset="value")
    return found


def curves(rows: pd.DataFrame, panel: Mapping[str, object], x: Axis) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Position on the x axis and value of each method's curve in one panel."""
    known = {name: level for name, level in panel.items() if name in rows.columns}
    found = {}
    for name, mine in rows_at(rows, known).groupby("estimator", sort=False):
        mine = mine.sort_values(FACTOR)
        at = positions(mine[FACTOR].to_numpy(dtype=np.float64), x)
        inside = (at >= x.span[0]) & (at <= x.span[1])
        found[str(name)] = at[inside], mine["value"].to_numpy(dtype=np.float64)[inside]
    return found


def positions(numbers: FloatArray, x: Axis) -> FloatArray:
    """Where numbers of clusters stand on the axis, which is linear or logarithmic."""
    levels = np.array([float(str(level)) for level in x.levels])
    logarithmic = np.allclose(np.log(levels), x.positions)
    return np.log(numbers) if logarithmic else numbers

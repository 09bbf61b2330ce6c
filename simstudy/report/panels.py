"""Which numbers a figure shows, which factor is its x axis, and which factors span its panels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from simstudy.errors import SimstudyError, did_you_mean
from simstudy.performance import BASES, COLUMNS, MEASURES
from simstudy.report.palette import factor_label
from simstudy.report.text import setting

MAX_PANEL_ROWS = 8
MAX_PANEL_COLUMNS = 8
LOG_RANGE = 4.0
"""From this ratio of the largest to the smallest level on, numeric x axes are logarithmic."""


@dataclass(frozen=True)
class Axis:
    """Levels of the x factor and where they are drawn.

    Parameters
    ----------
    factor : str
        Empty if no factor varies.
    levels : tuple
        Distinct levels in order.
    positions : tuple of float
        Coordinates: the number or its logarithm, 0, 1, 2... for text.
    """

    factor: str
    levels: tuple[object, ...]
    positions: tuple[float, ...]


@dataclass(frozen=True)
class Grid:
    """Panels of a figure.

    Parameters
    ----------
    x : Axis
        Factor of the x axis.
    rows, columns : tuple of (str, mapping)
        Title of each panel row or column, and the levels of the factors it stands for.
    hidden_rows, hidden_columns : int
        Panel rows and columns that were too many to draw.
    """

    x: Axis
    rows: tuple[tuple[str, Mapping[str, object]], ...]
    columns: tuple[tuple[str, Mapping[str, object]], ...]
    hidden_rows: int
    hidden_columns: int


def factor_columns(performance: pd.DataFrame) -> list[str]:
    """Columns of a performance table that are design factors: those that every such table does not have."""
    return [str(name) for name in performance.columns if name not in COLUMNS]


def _known(what: str, name: str, allowed: Sequence[str]) -> None:
    if name not in allowed:
        raise SimstudyError(
            f"{what}: there is no '{name}'{did_you_mean(name, allowed)}; allowed: {', '.join(allowed) or 'none'}"
        )


def figure_data(
    performance: pd.DataFrame,
    measure: str,
    parameter: str,
    *,
    basis: str = "casewise",
    se_kind: str | None = None,
    where: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """Rows of a performance table that a figure draws: one a cell and method.

    Parameters
    ----------
    performance : DataFrame
        Long performance table with its factor columns.
    measure, parameter : str
        What to draw.
    basis : str
        ``casewise`` or ``common``.
    se_kind : str, optional
        Kind of SE for the methods that have it; otherwise, and for the others, each method's first.
    where : mapping, optional
        Factor -> level to keep.

    Returns
    -------
    DataFrame
        Columns of the performance table, in its order.

    Raises
    ------
    SimstudyError
        If a name is unknown or nothing is left.
    """
    _known("measure", measure, list(MEASURES))
    _known("parameter", parameter, [str(name) for name in performance["parameter"].unique() if name])
    _known("basis", basis, list(BASES))
    rows = performance[
        (performance["measure"] == measure) & (performance["parameter"] == parameter) & (performance["basis"] == basis)
    ]
    for factor, level in (where or {}).items():
        _known("where", factor, factor_columns(performance))
        rows = rows[[setting(value) == setting(level) for value in rows[factor]]]
    if rows.empty:
        raise SimstudyError(f"no rows for parameter '{parameter}', measure '{measure}' and where = {dict(where or {})}")
    if se_kind is not None:
        _known("se_kind", se_kind, [str(kind) for kind in performance["se_kind"].unique() if kind])
        preferred = (rows["se_kind"] == se_kind).to_numpy()
        rows = rows.iloc[np.argsort(~preferred, kind="stable")]
    return rows.drop_duplicates(["cell", "estimator"]).sort_index()


def in_level_order(values: Sequence[object]) -> list[object]:
    """Distinct levels: numbers, also those written as text, by size, then text by name."""

    def key(value: object) -> tuple[bool, float, str]:
        number = as_number(value)
        return (math.isnan(number), 0.0 if math.isnan(number) else number, str(value))

    return sorted(dict.fromkeys(values), key=key)


def as_number(value: object) -> float:
    """Return the number that a level is or spells; NaN if it is neither."""
    try:
        return float(str(value))
    except ValueError:
        return math.nan


def _axis(factor: str, levels: Sequence[object]) -> Axis:
    numbers = [as_number(level) for level in levels]
    if not factor or any(math.isnan(number) for number in numbers):
        return Axis(factor, tuple(levels), tuple(float(place) for place in range(len(levels))))
    if min(numbers) > 0 and max(numbers) / min(numbers) >= LOG_RANGE:
        numbers = [math.log(number) for number in numbers]
    return Axis(factor, tuple(levels), tuple(numbers))


def make_grid(data: pd.DataFrame, factors: Sequence[str], x: str | None = None) -> Grid:
    """Lay out the panels.

    The x axis is `x`, or the number of clusters if it varies, or the first numeric factor that varies, or the first
    that varies.  Rows are the ICC and columns the cluster size where these vary and are not the x axis; other factors
    fill the free direction, columns first; what is left is crossed with the rows.

    Raises
    ------
    SimstudyError
        If `x` is no factor of the study.
    """
    levels = {factor: in_level_order(data[factor].tolist()) for factor in factors}
    varying = [factor for factor in factors if len(levels[factor]) > 1]
    if x is not None:
        _known("x", x, list(factors))
    numeric = [name for name in varying if not any(math.isnan(as_number(level)) for level in levels[name])]
    preferred = [*(name for name in ("n_clusters",) if name in varying), *numeric, *varying, ""]
    across = x if x is not None else preferred[0]

    others = [factor for factor in varying if factor != across]
    row = "icc" if "icc" in others else ""
    column = "cluster_size" if "cluster_size" in others else ""
    rest = [factor for factor in others if factor not in (row, column)]
    if not column:
        column = rest.pop(0) if rest else row
        row = "" if column == row else row
    if not row and rest:
        row = rest.pop(0)
    rows = _strips([row, *rest] if row else [], data, levels)
    columns = _strips([column] if column else [], data, levels)
    return Grid(
        x=_axis(across, levels.get(across, [""])),
        rows=tuple(rows[:MAX_PANEL_ROWS]),
        columns=tuple(columns[:MAX_PANEL_COLUMNS]),
        hidden_rows=max(len(rows) - MAX_PANEL_ROWS, 0),
        hidden_columns=max(len(columns) - MAX_PANEL_COLUMNS, 0),
    )


def _strips(
    factors: Sequence[str], data: pd.DataFrame, levels: Mapping[str, Sequence[object]]
) -> list[tuple[str, Mapping[str, object]]]:
    """Combinations of levels that occur, each with its title; one empty combination without factors."""
    if not factors:
        return [("", {})]
    occurring = dict.fromkeys(data[list(factors)].itertuples(index=False, name=None))
    places = [{level: place for place, level in enumerate(levels[factor])} for factor in factors]
    ordered = sorted(occurring, key=lambda values: [place[value] for place, value in zip(places, values, strict=True)])
    strips: list[tuple[str, Mapping[str, object]]] = []
    for values in ordered:
        pairs = dict(zip(factors, values, strict=True))
        title = ", ".join(f"{factor_label(name, short=True)} = {setting(value)}" for name, value in pairs.items())
        strips.append((title, pairs))
    return strips

"""Bias and coverage of every method against a design factor, with MCSE bands.

Matplotlib is imported where it is used: a study that draws nothing does not pay for it.  Figures are made without
pyplot, so nothing depends on a display or on global state.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from simstudy.errors import SimstudyError, did_you_mean
from simstudy.report.draw import Z_BAND, Band, Scale, draw_panels
from simstudy.report.panels import Grid, factor_columns, figure_data, make_grid
from simstudy.report.scales import LINEAR_FROM, FloatArray, bias_limits, coverage_ticks, stretched
from simstudy.report.tables import write_csv
from simstudy.report.view import LEVEL_PREFIXES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BIAS_BANDS: Mapping[str, tuple[str, float]] = {
    "muthen2002": ("within 10% (Muthén & Muthén, 2002)", 0.10),
    "hoogland1998": ("within 5% (Hoogland & Boomsma, 1998)", 0.05),
}
"""Name -> legend and largest acceptable absolute relative bias."""

COVERAGE_BANDS: tuple[str, ...] = ("muthen2002", "bradley1978")
"""Muthén & Muthén (2002): .91 to .98; Bradley (1978), liberal: an error rate of half to one and a half alpha."""

_BIAS_LABELS: Mapping[str, str] = {
    "bias": "Bias (mean estimate − truth)",
    "median_bias": "Median bias (median estimate − truth)",
    "relative_bias": "Relative bias (bias / truth)",
}
DPI = 160


def plot_bias(
    performance: pd.DataFrame,
    parameter: str,
    *,
    measure: str = "bias",
    x: str | None = None,
    basis: str = "casewise",
    where: Mapping[str, object] | None = None,
    band: str | None = None,
) -> Figure:
    """Draw the bias of every method against a design factor, with a line at 0.

    Parameters
    ----------
    performance : DataFrame
        Long performance table with its factor columns.
    parameter : str
        Parameter to draw.
    measure : str
        ``bias``, ``median_bias`` or ``relative_bias``.
    x : str, optional
        Factor of the x axis; by default the number of clusters, or the first numeric factor that varies.
    basis : str
        ``casewise`` or ``common``.
    where : mapping, optional
        Factor -> level to keep.
    band : str, optional
        A key of `BIAS_BANDS` to shade; it needs `relative_bias`, or a truth that is the same in every cell.

    Returns
    -------
    Figure
        Panels by the other factors.  Values far beyond those of the other methods are marked at the edge with their
        size.

    Raises
    ------
    SimstudyError
        If a name is unknown or the band has no meaning here.
    """
    _one_of("measure", measure, _BIAS_LABELS)
    data = figure_data(performance, measure, parameter, basis=basis, where=where)
    truths = np.unique(data["truth"].to_numpy(dtype=np.float64))
    relative = measure == "relative_bias"
    shaded = None
    if band is not None:
        _one_of("band", band, BIAS_BANDS)
        label, width = BIAS_BANDS[band]
        if not relative:
            if len(truths) != 1 or not np.isfinite(truths[0]) or truths[0] == 0.0:
                raise SimstudyError(
                    f"band: '{band}' is about relative bias, and the truth of '{parameter}' is not one number other "
                    "than 0; use measure='relative_bias'"
                )
            width *= abs(float(truths[0]))
        shaded = Band(label, -width, width)
    grid, visible = _laid_out(performance, data, x)
    methods = [name for name in _methods(performance) if name in set(visible["estimator"])]
    by_method = {name: visible[visible["estimator"] == name] for name in methods}
    known = np.abs(truths[np.isfinite(truths)])
    typical = 1.0 if relative else float(np.median(known)) if len(known) else 0.0
    limits = bias_limits(
        {name: rows["value"].to_numpy(dtype=np.float64).tolist() for name, rows in by_method.items()},
        {name: (Z_BAND * rows["mcse"].to_numpy(dtype=np.float64)).tolist() for name, rows in by_method.items()},
        typical,
    )
    scale = Scale(_BIAS_LABELS[measure], limits, _identity, 0.0, "no bias", as_percent=relative, band=shaded)
    title = f"{_BIAS_LABELS[measure].split(' (')[0]} of {_parameter_words(data)}"
    return draw_panels(visible, grid, scale, estimators=_methods(performance), title=title, notes=_basis_note(basis))


def plot_coverage(
    performance: pd.DataFrame,
    parameter: str,
    *,
    level: float = 0.95,
    x: str | None = None,
    basis: str = "casewise",
    se_kind: str | None = None,
    where: Mapping[str, object] | None = None,
    band: str | None = None,
) -> Figure:
    """Draw the coverage of every method's intervals against a design factor, with a line at the nominal level.

    Parameters
    ----------
    performance : DataFrame
        Long performance table with its factor columns.
    parameter : str
        Parameter to draw.
    level : float
        Nominal level.
    x, basis, where
        As for `plot_bias`.
    se_kind : str, optional
        Kind of SE, for the methods that have it; by default each method's first.
    band : str, optional
        One of `COVERAGE_BANDS` to shade.

    Returns
    -------
    Figure
        Where coverage falls below .8 the axis is stretched near 1, and its label says so; nothing is cut off.

    Raises
    ------
    SimstudyError
        If a name is unknown.
    """
    data = figure_data(performance, "coverage", parameter, basis=basis, se_kind=se_kind, where=where)
    shaded = None
    if band is not None:
        _one_of("band", band, COVERAGE_BANDS)
        alpha = 1.0 - level
        shaded = (
            Band(".91 to .98 (Muthén & Muthén, 2002)", 0.91, 0.98)
            if band == "muthen2002"
            else Band(
                f"{1 - 1.5 * alpha:.4g} to {1 - 0.5 * alpha:.4g} (Bradley, 1978)", 1 - 1.5 * alpha, 1 - 0.5 * alpha
            )
        )
    grid, visible = _laid_out(performance, data, x)
    values, errors = (visible[name].to_numpy(dtype=np.float64) for name in ("value", "mcse"))
    ends = (values - Z_BAND * np.nan_to_num(errors))[np.isfinite(values)]
    lowest = float(np.clip(min(ends.min(initial=1.0), level - 0.06), 0.0, 1.0))
    linear = lowest >= LINEAR_FROM
    forward = _identity if linear else stretched
    bottom, top = (float(end) for end in forward(np.array([lowest if linear else 0.0, 1.0])))
    pad = 0.05 * (top - bottom)
    words = f"Coverage of {100 * level:g}% intervals"
    scale = Scale(
        words if linear else f"{words} (axis stretched near 1)",
        (bottom - pad, top + pad),
        forward,
        level,
        f"nominal {100 * level:g}%",
        ticks=tuple(coverage_ticks(lowest)),
        bounds=(0.0, 1.0),
        band=shaded,
    )
    notes = [*_basis_note(basis), *_kind_note(visible)]
    title = f"{words}: {_parameter_words(data)}"
    return draw_panels(visible, grid, scale, estimators=_methods(performance), title=title, notes=notes)


def save_figure(figure: Figure, data: pd.DataFrame, path_stem: str | Path) -> list[Path]:
    """Write a figure as PDF and PNG and its data as CSV; the same figure gives the same bytes.

    Parameters
    ----------
    figure : Figure
        From `plot_bias` or `plot_coverage`.
    data : DataFrame
        The numbers drawn (`figure_data`).
    path_stem : path
        Path without suffix; its folder is made if need be.

    Returns
    -------
    list of Path
        The three files.
    """
    stem = Path(path_stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, metadata in (
        ("pdf", {"Creator": "simstudy", "Producer": "simstudy", "CreationDate": None}),
        ("png", {"Software": "simstudy"}),
    ):
        target = stem.with_name(f"{stem.name}.{suffix}")
        unfinished = stem.with_name(f".{stem.name}.{os.getpid()}.{suffix}")
        figure.savefig(unfinished, format=suffix, metadata=metadata, dpi=DPI)
        written.append(unfinished.replace(target))
    return [*written, write_csv(data, stem.with_name(f"{stem.name}.csv"))]


def _identity(values: FloatArray) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def _one_of(what: str, name: str, allowed: Mapping[str, object] | tuple[str, ...]) -> None:
    if name not in allowed:
        raise SimstudyError(f"{what}: there is no '{name}'{did_you_mean(name, allowed)}; allowed: {', '.join(allowed)}")


def _methods(performance: pd.DataFrame) -> list[str]:
    return [str(name) for name in performance["estimator"].unique()]


def _laid_out(performance: pd.DataFrame, data: pd.DataFrame, x: str | None) -> tuple[Grid, pd.DataFrame]:
    """Grid of panels, and the rows of the panels that are drawn."""
    grid = make_grid(data, factor_columns(performance), x)
    shown = np.ones(len(data), dtype=np.bool_)
    for strips in (grid.rows, grid.columns):
        inside = np.zeros(len(data), dtype=np.bool_)
        for _, levels in strips:
            match = np.ones(len(data), dtype=np.bool_)
            for factor, level in levels.items():
                match &= (data[factor] == level).to_numpy(dtype=np.bool_)
            inside |= match
        shown &= inside
    return grid, data[shown]


def _parameter_words(data: pd.DataFrame) -> str:
    """Name, level and truth of the parameter."""
    name, level = str(data["parameter"].iloc[0]), str(data["level"].iloc[0])
    truths = np.unique(data["truth"].to_numpy(dtype=np.float64))
    words = f"{name} ({level})" if level and not name.startswith(LEVEL_PREFIXES) else name
    if len(truths) == 1:
        return f"{words}, truth {truths[0]:.4g}" if np.isfinite(truths[0]) else f"{words}, no true value"
    return f"{words}, truth {truths[0]:.4g} to {np.nanmax(truths):.4g} by condition"


def _basis_note(basis: str) -> list[str]:
    return ["Only replicates on which every method succeeded."] if basis == "common" else []


def _kind_note(data: pd.DataFrame) -> list[str]:
    """Name the kinds of SE, where there are several."""
    kinds = data[["estimator", "se_kind"]].drop_duplicates("estimator")
    found = [kind for kind in kinds["se_kind"].unique() if kind]
    if len(found) == 1:
        return [f"SE: {found[0]}."]
    pairs = ", ".join(f"{name} {kind}" for name, kind in kinds.itertuples(index=False, name=None) if kind)
    return [f"SE: {pairs}."] if pairs else []

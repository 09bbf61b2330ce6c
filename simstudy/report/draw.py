"""Draw the panels of a figure: one line a method, MCSE bands, a reference line, marks for what is off the axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from simstudy.report.legend import BAND_GREY, MEDIUM, REFERENCE_GREY, SMALL, add_legend, hidden_notes, missing_notes
from simstudy.report.palette import MethodStyle, factor_label, method_styles
from simstudy.report.panels import Axis, Grid
from simstudy.report.text import fixed, setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]

Z_BAND = 1.959963984540054
"""MCSE bands are 95 % intervals of the number that infinitely many replications would give."""
LARGE = 10.5
LABELS_A_PANEL = 7.0
"""Tick labels that fit below one panel."""
LABEL_SHARE = 0.2
"""Width of a printed value as a share of the axis."""


@dataclass(frozen=True)
class Band:
    """A named region of the y axis, a convention of the literature and not a verdict."""

    label: str
    low: float
    high: float


@dataclass(frozen=True)
class Scale:
    """The y axis.

    Parameters
    ----------
    label : str
        Axis label.
    limits : (float, float)
        In drawn coordinates.
    forward : callable
        Value -> drawn coordinate.
    reference : float
        Value of the line across every panel.
    reference_label : str
        Its name in the legend.
    ticks : tuple of float
        Values of the ticks; empty leaves them to matplotlib.
    as_percent : bool
        Print ticks as per cent.
    bounds : (float, float)
        Values that MCSE bands do not leave.
    band : Band, optional
        Region to shade.
    """

    label: str
    limits: tuple[float, float]
    forward: Callable[[FloatArray], FloatArray]
    reference: float
    reference_label: str
    ticks: tuple[float, ...] = ()
    as_percent: bool = False
    bounds: tuple[float, float] = (-np.inf, np.inf)
    band: Band | None = None


@dataclass(frozen=True)
class Series:
    """One method in one panel: coordinates on the x axis, values and MCSEs, with NaN where there is no number."""

    x: FloatArray
    value: FloatArray
    mcse: FloatArray


def draw_panels(
    data: pd.DataFrame, grid: Grid, scale: Scale, *, estimators: Sequence[str], title: str, notes: Sequence[str] = ()
) -> Figure:
    """Draw every panel of the grid and a legend below them.

    Parameters
    ----------
    data : DataFrame
        One row a cell and method (`figure_data`).
    grid, scale : Grid, Scale
        Panels and y axis.
    estimators : sequence of str
        All methods of the study, in its order: their place decides how they look.
    title : str
        Title of the figure.
    notes : sequence of str
        Sentences below the legend's title.
    """
    from matplotlib.figure import Figure

    n_rows, n_columns = len(grid.rows), len(grid.columns)
    figure = Figure(
        figsize=(min(max(1.3 + 2.2 * n_columns, 6.2), 17.0), min(1.9 + max(1.65 * n_rows, 2.4), 15.0)),
        layout="constrained",
    )
    axes = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    styles = method_styles(estimators)
    drawn = [name for name in estimators if name in set(data["estimator"])]
    clipped = 0
    for i, (row_title, row) in enumerate(grid.rows):
        for j, (column_title, column) in enumerate(grid.columns):
            panel = _panel_rows(data, {**row, **column})
            series = {name: _series(panel, name, grid.x) for name in drawn}
            clipped += _draw_panel(axes[i, j], series, styles, scale, grid.x)
            if i == 0 and column_title:
                axes[i, j].set_title(column_title, fontsize=MEDIUM)
            if j == n_columns - 1 and row_title:
                axes[i, j].annotate(
                    row_title, (1.04, 0.5), xycoords="axes fraction", rotation=270, va="center", fontsize=MEDIUM
                )
    _label_axes(axes, grid.x, scale)
    figure.supylabel(scale.label, fontsize=MEDIUM + 0.5)
    figure.suptitle(title, fontsize=LARGE)
    everything = [*notes, *missing_notes(data, drawn), *hidden_notes(grid)]
    if clipped:
        everything.append(f"Triangles at the edge, with the value: beyond the axis ({clipped}).")
    band_label = "" if scale.band is None else scale.band.label
    add_legend(figure, data, drawn, styles, scale.reference_label, band_label, everything)
    return figure


def _panel_rows(data: pd.DataFrame, levels: Mapping[str, object]) -> pd.DataFrame:
    for factor, level in levels.items():
        data = data[data[factor] == level]
    return data


def _series(panel: pd.DataFrame, method: str, x: Axis) -> Series:
    """Values of a method at every level of x; cells that share a level in one panel follow each other."""
    mine = panel[panel["estimator"] == method]
    places = dict(zip(x.levels, x.positions, strict=True))
    at = [places[level] for level in mine[x.factor]] if x.factor else [0.0] * len(mine)
    order = np.argsort(np.asarray(at, dtype=np.float64), kind="stable")
    columns = (at, mine["value"].to_numpy(dtype=np.float64), mine["mcse"].to_numpy(dtype=np.float64))
    first, value, mcse = (np.asarray(column, dtype=np.float64)[order] for column in columns)
    return Series(first, value, mcse)


def _offsets(x: Axis, count: int) -> FloatArray:
    """Small shifts along x, so that methods with the same result can all be seen."""
    positions = np.unique(np.asarray(x.positions))
    gap = float(np.diff(positions).min()) if len(positions) > 1 else 1.0
    span = float(positions[-1] - positions[0]) if len(positions) > 1 else 2.0
    width = min(0.45 * gap, 0.09 * span) if len(positions) > 1 else 0.7
    return np.linspace(-0.5, 0.5, count) * width if count > 1 else np.zeros(1)


def _draw_panel(
    axes: Axes, series: Mapping[str, Series], styles: Mapping[str, MethodStyle], scale: Scale, x: Axis
) -> int:
    """Draw one panel; return how many values lie beyond the axis."""
    low, high = scale.limits
    if scale.band is not None:
        edges = scale.forward(np.array([scale.band.low, scale.band.high]))
        axes.axhspan(edges[0], edges[1], color=BAND_GREY, zorder=0, linewidth=0)
    axes.axhline(float(scale.forward(np.array([scale.reference]))[0]), color=REFERENCE_GREY, linewidth=0.9, zorder=1)
    written: list[tuple[bool, float, int]] = []
    clipped = 0
    for place, (name, shift) in enumerate(zip(series, _offsets(x, len(series)), strict=True)):
        one, style = series[name], styles[name]
        y = scale.forward(one.value)
        half = Z_BAND * np.nan_to_num(one.mcse)
        lower = scale.forward(np.maximum(one.value - half, scale.bounds[0]))
        upper = scale.forward(np.minimum(one.value + half, scale.bounds[1]))
        at = one.x + shift
        known = np.isfinite(y)
        if known.sum() > 1:
            axes.fill_between(at, lower, upper, color=style.colour, alpha=0.18, linewidth=0, zorder=2 + place)
        for k in np.flatnonzero(known & ~_has_neighbour(known)):  # a band needs two points; one has a bar
            axes.plot([at[k], at[k]], [lower[k], upper[k]], color=style.colour, linewidth=1.4, zorder=2 + place)
        axes.plot(
            at,
            y,
            color=style.colour,
            linestyle=style.line,
            linewidth=1.3,
            marker=style.marker,
            markersize=4.2,
            markerfacecolor=style.colour if style.filled else "white",
            markeredgecolor=style.colour,
            markeredgewidth=1.0,
            zorder=20 + place,
        )
        for k in np.flatnonzero(known & ((y > high) | (y < low))):
            above = bool(y[k] > high)
            level = _free_level(written, above, float(at[k]), LABEL_SHARE * _span(x))
            written.append((above, float(at[k]), level))
            _mark_clipped(axes, float(at[k]), above, level, float(one.value[k]), style, scale)
            clipped += 1
    axes.set_ylim(low, high)
    return clipped


def _span(x: Axis) -> float:
    """Width of the axis in its own coordinates."""
    return max(float(np.ptp(np.asarray(x.positions))), 1.0)


def _free_level(written: Sequence[tuple[bool, float, int]], above: bool, x: float, width: float) -> int:
    """Return the lowest line at the edge on which no text within `width` of `x` stands."""
    taken = {level for side, place, level in written if side == above and abs(place - x) < width}
    return next(level for level in range(len(written) + 1) if level not in taken)


def _has_neighbour(known: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Tell which points have a known point next to them."""
    padded = np.concatenate([[False], known, [False]])
    return np.asarray(padded[:-2] | padded[2:])


def _mark_clipped(
    axes: Axes, x: float, above: bool, stacked: int, value: float, style: MethodStyle, scale: Scale
) -> None:
    """Triangle at the edge with the value; several at one place are stacked towards the middle."""
    from matplotlib.patheffects import withStroke

    edge = scale.limits[1] if above else scale.limits[0]
    axes.plot([x], [edge], marker="^" if above else "v", color=style.colour, markersize=5.5, clip_on=False, zorder=60)
    text = f"{100 * value:.3g}%" if scale.as_percent else fixed(value, 2) if abs(value) < 100 else f"{value:.3g}"
    axes.annotate(
        text,
        (x, edge),
        xytext=(3.5, (-1 if above else 1) * (4.0 + 7.0 * stacked)),
        textcoords="offset points",
        fontsize=SMALL - 1.0,
        color=style.colour,
        va="center",
        zorder=61,
        annotation_clip=False,
        path_effects=[withStroke(linewidth=2.0, foreground="white")],
    )


def _label_axes(axes: npt.NDArray[Any], x: Axis, scale: Scale) -> None:
    """Ticks at the levels of the factor, thinned where their labels would collide."""
    from matplotlib.ticker import PercentFormatter

    positions = np.asarray(x.positions)
    span = max(float(np.ptp(positions)), 1e-9)
    pad = 0.09 * span if len(x.levels) > 1 else 0.6
    words = [setting(level) for level in x.levels]
    kept: list[int] = []
    for place in range(len(words)):
        if not kept or positions[place] - positions[kept[-1]] >= span / LABELS_A_PANEL:
            kept.append(place)
    turned = max((len(word) for word in words), default=0) > 5
    for one in axes[-1]:
        one.set_xlabel(factor_label(x.factor), fontsize=MEDIUM)
    for one in axes.ravel():
        one.set_xlim(float(positions.min()) - pad, float(positions.max()) + pad)
        one.set_xticks(positions, minor=True)
        turn = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"} if turned else {}
        one.set_xticks([float(positions[place]) for place in kept], [words[place] for place in kept], **turn)
        one.tick_params(labelsize=SMALL, length=2.5)
        one.tick_params(which="minor", length=2.5)
        if scale.ticks:
            places = [float(place) for place in scale.forward(np.asarray(scale.ticks))]
            one.set_yticks(places, [f"{tick:g}" for tick in scale.ticks])
        elif scale.as_percent:
            one.yaxis.set_major_formatter(PercentFormatter(1.0))
        one.grid(axis="y", color="0.92", linewidth=0.6)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)

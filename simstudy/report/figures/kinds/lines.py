"""Line panels: a measure of every method against a design factor, with MCSE bands; bias, coverage, power and others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from simstudy.errors import SimstudyError
from simstudy.methods.look import Look
from simstudy.report.figures import words as say
from simstudy.report.figures.axis import Scale, measure_scale
from simstudy.report.figures.bands import check_band
from simstudy.report.figures.describe import by_cell
from simstudy.report.figures.layout import Panels, Words, make_page
from simstudy.report.figures.marks import Clipped, draw_background, line_look, method_keys, say_empty, scale_keys
from simstudy.report.figures.panels import Axis, Grid, condition, drawn_rows, make_grid, rows_at
from simstudy.report.figures.registry import (
    TABLE,
    Drawing,
    FigureKind,
    Request,
    figure_functions,
    register_figure,
)
from simstudy.report.figures.select import factor_columns, names_in
from simstudy.report.figures.style import (
    GRID_GREY,
    PAGE,
    REFERENCE_GREY,
    band_alpha,
    method_looks,
)
from simstudy.report.figures.theory import curves, theory_rows
from simstudy.report.figures.ticks import LevelTicks, fit_ticks, label_ticks, ticks_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]
BIAS_MEASURES = ("bias", "median_bias", "relative_bias")
PANEL_HEIGHT = 1.12
SINGLE_HEIGHT, WIDE_HEIGHT = 2.4, 1.8
SMALLEST_PANEL, LARGEST_PANEL = 1.02, 3.9
SHIFT, ALONE = 0.055, 0.3
"""Inches between methods at one level of x, where there is room, and if there is one level only."""


@dataclass(frozen=True)
class Series:
    """One method in one panel: coordinates on the x axis, values and MCSEs, with NaN where there is no number."""

    x: FloatArray
    value: FloatArray
    mcse: FloatArray
    truth: FloatArray


def draw_lines(performance: pd.DataFrame, asked: Request) -> Drawing:
    """Draw a measure of every method against a design factor, in panels by the other factors.

    MCSEs are bands; values far beyond those of the other methods are marked at the edge with their size.
    """
    check_band(asked.band, asked.measures)
    data, factors, measure = asked.rows(performance), factor_columns(performance), asked.measures[0]
    grid = make_grid(data, factors, asked.x)
    data = drawn_rows(drawn_rows(data, grid.rows), grid.columns)
    scale = measure_scale(data, measure, asked.level, asked.band)
    title = say.figure_title(data, asked.measures, asked.parameter, asked.level)
    theory = asked.own.get("theory")
    expected = theory_rows(theory, data, grid.x) if theory is not None else data.iloc[:0]
    figure = _draw(data, grid, scale, title, say.about_words(data, condition(data, factors)), expected)
    stem = (measure, asked.parameter, *asked.stem())
    return Drawing(figure, data, title, stem, grid.x.factor, scale.as_percent)


def draw_power(performance: pd.DataFrame, asked: Request) -> Drawing:
    """Draw power (type I error rates where the truth is 0) against the number of clusters or another factor."""
    drawn = draw_lines(performance, asked)
    return replace(drawn, stem=("power", *drawn.stem[1:]))


lines_chart, plot_lines = figure_functions(register_figure(FigureKind(
    "lines", "measures against a factor, with MCSE bands", "performance", draw_lines, by_cell,
    ("measures", "x", *TABLE), {"measure": "bias"}, in_python=("theory",),
)))  # fmt: skip
power_chart, plot_power = figure_functions(register_figure(FigureKind(
    "power", "power against a factor, with MCSE bands", "performance", draw_power, by_cell,
    ("x", *TABLE), {"measures": ("rejection",)},
)))  # fmt: skip


def plot_bias(performance: pd.DataFrame, parameter: str, *, measure: str = "bias", **options: Any) -> Figure:
    """Draw the bias of every method against a design factor (`plot_lines`).

    `measure` is ``bias``, ``median_bias`` or ``relative_bias``.
    """
    if measure not in BIAS_MEASURES:
        raise SimstudyError(f"measure: found '{measure}'; allowed: {', '.join(BIAS_MEASURES)}; plot_lines draws others")
    return plot_lines(performance, parameter, measure=measure, **options)


def plot_coverage(performance: pd.DataFrame, parameter: str, **options: Any) -> Figure:
    """Draw the coverage of every method's intervals against a design factor (`plot_lines`)."""
    return plot_lines(performance, parameter, measure="coverage", **options)


def _draw(data: pd.DataFrame, grid: Grid, scale: Scale, title: str, about: str, theory: pd.DataFrame) -> Figure:
    """Draw every panel of the grid and everything around them."""
    methods = names_in(data, "estimator")
    styles = method_looks(methods)
    panels, across = _measured(grid, scale)
    clipped = Clipped(scale)
    words = Words(
        title,
        about,
        grid.x.label,
        scale.label,
        tuple(text for text, _ in grid.columns) if grid.columns[0][0] else (),
        tuple(text for text, _ in grid.rows) if grid.rows[0][0] else (),
        notes=say.sentences(*say.data_notes(data), *grid.notes, clipped.note(data), _theory_note(theory)),
    )
    page = make_page(words, panels, [*method_keys(methods, styles, data), *scale_keys(scale)])
    label_ticks(page, across, scale.shown)
    for i, (_, row) in enumerate(grid.rows):
        for j, (_, column) in enumerate(grid.columns):
            panel = rows_at(data, {**row, **column})
            series = {name: _series(panel[panel["estimator"] == name], grid.x) for name in methods if len(panel)}
            if panel.empty:
                say_empty(page.at(i, j))
            lines = curves(theory, {**row, **column}, grid.x) if len(theory) else None
            _draw_panel(page.at(i, j), series, styles, scale, grid.x, clipped, page.width, lines)
    return page.figure


def _theory_note(theory: pd.DataFrame) -> str:
    if theory.empty:
        return ""
    return "Lines: theory without simulation, which is for many clusters. Points: simulation, bars: 1.96 MCSE."


def _measured(grid: Grid, scale: Scale) -> tuple[Panels, LevelTicks]:
    """Panels, and the ticks of x as they fit: these depend on the width of a panel, and it on the room at the left."""
    n_rows, n_columns = len(grid.rows), len(grid.columns)
    gap, left = 0.1, ticks_width([text for _, text in scale.shown])
    guess = (PAGE - 0.6 - left - gap * (n_columns - 1)) / n_columns if n_columns > 1 else LARGEST_PANEL
    width = min(max(guess, SMALLEST_PANEL), LARGEST_PANEL)
    across = fit_ticks(grid.x.positions, grid.x.texts, grid.x.span, width, numeric=grid.x.numeric)
    if not grid.x.factor:
        across = LevelTicks((), height=0.08)
    height = PANEL_HEIGHT if n_rows > 1 else WIDE_HEIGHT if n_columns > 3 else SINGLE_HEIGHT
    panels = Panels(
        n_rows,
        n_columns,
        heights=(height,) * n_rows,
        width=(SMALLEST_PANEL, LARGEST_PANEL),
        left=max(left, across.reach - 0.1),
        below=across.height,
        gap=gap,
    )
    return panels, across


def _series(mine: pd.DataFrame, x: Axis) -> Series:
    """Values of a method at every level of x."""
    places = dict(zip(x.levels, x.positions, strict=True))
    at = np.array([places[level] for level in mine[x.factor]] if x.factor else [0.0] * len(mine), dtype=np.float64)
    order = np.argsort(at, kind="stable")
    value, mcse, truth = (mine[name].to_numpy(dtype=np.float64)[order] for name in ("value", "mcse", "truth"))
    return Series(at[order], value, mcse, truth)


def offsets(x: Axis, count: int, width: float) -> FloatArray:
    """Small shifts along x in a panel of `width` inches, so that methods with the same result can all be seen."""
    positions = np.unique(np.asarray(x.positions))
    low, high = x.span
    wanted = SHIFT * (count - 1) * (high - low) / width
    if len(positions) == 1:  # there is nothing else on the axis
        wanted = min(ALONE * (count - 1) / width, 0.85) * (high - low)
    if len(positions) > 1:
        wanted = min(wanted, 0.6 * float(np.diff(positions).min()), 0.13 * float(positions[-1] - positions[0]))
    return np.linspace(-0.5, 0.5, count) * wanted if count > 1 else np.zeros(count)


def _draw_panel(
    axes: Axes,
    series: Mapping[str, Series],
    styles: Mapping[str, Look],
    scale: Scale,
    x: Axis,
    clipped: Clipped,
    width: float,
    theory: Mapping[str, tuple[FloatArray, FloatArray]] | None = None,
) -> None:
    """Draw one panel; with theory, its curves take the place of the lines between simulated points."""
    draw_background(axes, scale)
    if scale.by_truth and series:
        one = next(iter(series.values()))
        if len(np.unique(one.truth)) == 1:
            axes.axhline(one.truth[0], color=REFERENCE_GREY, linewidth=0.9, zorder=1)
        else:
            axes.plot(one.x, one.truth, color=REFERENCE_GREY, linewidth=0.9, zorder=1)
    axes.set_xlim(x.span)
    axes.set_ylim(scale.limits)
    axes.grid(axis="y", color=GRID_GREY, linewidth=0.5)
    for place, (name, shift) in enumerate(zip(series, offsets(x, len(series), width), strict=True)):
        one, style = series[name], styles[name]
        y, (lower, upper), at = scale.forward(one.value), scale.interval(one.value, one.mcse), one.x + shift
        known = np.isfinite(y)
        if theory is not None:
            look = {**line_look(style), "linestyle": "none"}
            axes.vlines(at[known], lower[known], upper[known], color=style.colour, linewidth=1.1, zorder=2 + place)
            axes.plot(at, y, **look, zorder=40 + place, label=name)
            if name in theory:
                where, value = theory[name]
                shown = scale.forward(value)
                axes.plot(where, shown, color=style.colour, linestyle=style.line, linewidth=1.1, zorder=20 + place)
            clipped.mark(axes, at, one.value, style, width)
            continue
        if known.sum() > 1:
            axes.fill_between(
                at, lower, upper, color=style.colour, alpha=band_alpha(len(series)), linewidth=0, zorder=2 + place
            )
        for k in np.flatnonzero(known & ~_has_neighbour(known)):  # a band needs two points; one has a bar
            axes.plot([at[k], at[k]], [lower[k], upper[k]], color=style.colour, linewidth=1.4, zorder=2 + place)
        axes.plot(at, y, **line_look(style), zorder=40 + place, label=name)
        clipped.mark(axes, at, one.value, style, width)


def _has_neighbour(known: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Tell which points have a known point next to them."""
    padded = np.concatenate([[False], known, [False]])
    return np.asarray(padded[:-2] | padded[2:])

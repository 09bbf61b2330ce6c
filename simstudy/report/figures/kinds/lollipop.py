"""Lollipop plots: measures of every method as points on stems, with Monte Carlo errors (Morris et al., 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from simstudy.report.figures import words as say
from simstudy.report.figures.axis import Scale, measure_scale
from simstudy.report.figures.bands import check_band
from simstudy.report.figures.describe import by_cell
from simstudy.report.figures.layout import Page, Panels, Words, make_page
from simstudy.report.figures.marks import draw_background, line_key, line_look, say_beyond, say_empty, scale_keys
from simstudy.report.figures.panels import (
    MAX_PANEL_ROWS,
    Axis,
    Strip,
    condition,
    drawn_rows,
    in_level_order,
    make_axis,
    make_grid,
    make_strips,
    rows_at,
    x_factor,
)
from simstudy.report.figures.registry import (
    TABLE,
    Drawing,
    FigureKind,
    Request,
    figure_functions,
    register_figure,
)
from simstudy.report.figures.select import check_name, factor_columns, names_in
from simstudy.report.figures.style import GRID_GREY, INK, SAFETY, SMALLEST, TICK, method_looks, text_width
from simstudy.report.figures.ticks import TICK_GAP, LevelTicks, clean, fit_ticks

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

SEVERAL = ("bias", "empirical_se", "rmse", "coverage")
"""Measures drawn for one cell."""
ROOM, CLOSE, BETWEEN = 0.17, 0.082, 0.06
"""Inches along y: of a method; of one level of the inner factor; between methods with several levels."""
TALLEST = 10.0
"""Inches of panels above each other; further rows are left out, and announced."""
CAP = "|"


@dataclass(frozen=True)
class Layout:
    """What stands where.

    Parameters
    ----------
    rows : tuple of Strip
    columns : tuple of (str, str, mapping)
        Title, measure and levels of each panel column.
    inner : Axis
        Factor whose levels stand below each other within a method.
    hidden : int
        Panel rows that are not drawn.
    """

    rows: tuple[Strip, ...]
    columns: tuple[tuple[str, str, Mapping[str, object]], ...]
    inner: Axis
    hidden: int

    @property
    def several(self) -> bool:
        """Whether a method has several lollipops in a panel."""
        return len(self.inner.levels) > 1

    def place(self, method: int, level: int) -> float:
        """Inches from the top of a panel."""
        n = len(self.inner.levels)
        if n == 1:
            return (method + 0.5) * ROOM
        return method * (n * CLOSE + BETWEEN) + BETWEEN / 2 + (level + 0.5) * CLOSE

    def height(self, n_methods: int) -> float:
        """Inches of a panel."""
        n = len(self.inner.levels)
        return n_methods * (ROOM if n == 1 else n * CLOSE + BETWEEN)


def draw_lollipop(performance: pd.DataFrame, asked: Request) -> Drawing:
    """Draw measures of every method as points on stems from the reference, with the ends of their MCSE intervals.

    Several measures are columns of panels; by default it is bias, or `SEVERAL` where one cell is drawn. The levels of
    `x` stand below each other within a method.
    """
    if not asked.measures:
        one = replace(asked, measures=("bias",)).rows(performance)["cell"].nunique() == 1
        asked = replace(asked, measures=SEVERAL if one else ("bias",))
    measures = asked.measures
    check_band(asked.band, measures)
    data, factors = asked.rows(performance), factor_columns(performance)
    scales = {name: measure_scale(data, name, asked.level, asked.band, 4) for name in measures}
    layout = _lay_out(data, factors, asked.x, scales, len(names_in(data, "estimator")))
    data = drawn_rows(drawn_rows(data, layout.rows), [(title, levels) for title, _, levels in layout.columns])
    title = say.figure_title(data, measures, asked.parameter, asked.level)
    page = _draw(data, layout, scales, title, say.about_words(data, condition(data, factors)))
    stem = ("lollipop", *(measures if len(measures) < 4 else ()), asked.parameter, *asked.stem())
    return Drawing(page.figure, data, title, stem, layout.inner.factor)


lollipop_chart, plot_lollipop = figure_functions(register_figure(FigureKind(
    "lollipop", "measures as points on stems, with MCSEs", "performance", draw_lollipop, by_cell,
    ("measures", "x", *TABLE), several=True,
)))  # fmt: skip


def _lay_out(
    data: pd.DataFrame, factors: Sequence[str], x: str | None, scales: Mapping[str, Scale], n_methods: int
) -> Layout:
    if len(scales) == 1:
        grid = make_grid(data, factors, x)
        measure = next(iter(scales))
        inner, rows = grid.x, list(grid.rows)
        hidden = grid.hidden_rows
        columns = [(title, measure, levels) for title, levels in grid.columns]
    else:
        levels = {factor: in_level_order(data[factor].tolist()) for factor in factors}
        if x is not None:
            check_name("x", x, factors)
        across = x if x is not None else x_factor(levels)
        inner = make_axis(across, levels.get(across, [""]))
        rows = make_strips([name for name in factors if len(levels[name]) > 1 and name != across], data, levels)
        hidden = max(len(rows) - MAX_PANEL_ROWS, 0)
        columns = [(scale.short, measure, {}) for measure, scale in scales.items()]
    height = Layout((), (), inner, 0).height(n_methods)
    fit = max(1, min(MAX_PANEL_ROWS, int(TALLEST / (height + 0.1))))
    return Layout(tuple(rows[:fit]), tuple(columns), inner, hidden + max(min(len(rows), MAX_PANEL_ROWS) - fit, 0))


def _draw(data: pd.DataFrame, layout: Layout, scales: Mapping[str, Scale], title: str, about: str) -> Page:
    methods = names_in(data, "estimator")
    height, one = layout.height(len(methods)), len(scales) == 1
    names = TICK_GAP + SAFETY * max(text_width(name, TICK) for name in methods)
    levels = SAFETY * max(text_width(text, SMALLEST) for text in layout.inner.texts) + 0.06 if layout.several else 0.0
    words = Words(
        title,
        about,
        x=next(iter(scales.values())).label if one else "",
        columns=tuple(text for text, _, _ in layout.columns) if layout.columns[0][0] else (),
        rows=tuple(text for text, _ in layout.rows) if layout.rows[0][0] else (),
        notes=_notes(data, layout, scales),
    )
    panels = Panels(
        len(layout.rows),
        len(layout.columns),
        (height,) * len(layout.rows),
        width=(1.05, 3.6),
        left=names + levels,
        below=TICK_GAP + 0.12,
        gap=0.1 if one else 0.16,
    )
    page = make_page(words, panels, _keys(list(scales.values())))
    for i, (_, row) in enumerate(layout.rows):
        for j, (_, measure, column) in enumerate(layout.columns):
            rows = rows_at(data[data["measure"] == measure], {**row, **column})
            axes = page.at(i, j)
            axes.set_ylim(height, 0.0)
            _draw_panel(axes, rows, layout, scales[measure], methods)
            _tick(page, i, j, layout, scales[measure], methods, levels)
    return page


def _notes(data: pd.DataFrame, layout: Layout, scales: Mapping[str, Scale]) -> tuple[str, ...]:
    beyond = sum(int(_beyond(data[data["measure"] == name], scale).sum()) for name, scale in scales.items())
    inner = f"{say.strip_label(layout.inner.factor)} = {', '.join(layout.inner.texts)}"
    return say.sentences(
        *say.data_notes(data),
        f"Within each method, from top to bottom: {inner}." if layout.several else "",
        f"Triangles at the edge, with the value: beyond the axis ({beyond})." if beyond else "",
        f"{layout.hidden} more panel rows are not drawn; levels can be chosen (--where, where=)."
        if layout.hidden
        else "",
    )


def _keys(scales: Sequence[Scale]) -> list[Artist]:
    """Legend; the methods are named at the left of the panels."""
    keys: list[Artist] = []
    for scale in scales:
        known = {str(key.get_label()) for key in keys}
        keys += [key for key in scale_keys(scale, "") if str(key.get_label()) not in known]
    return [*keys, line_key("ends of ± 1.96 MCSE", color="0.3", linestyle="", marker=CAP, markersize=6.0)]


def _beyond(data: pd.DataFrame, scale: Scale) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    at = scale.forward(data["value"].to_numpy(dtype=np.float64))
    return np.asarray((at < scale.limits[0]) | (at > scale.limits[1]))


def _draw_panel(axes: Axes, rows: pd.DataFrame, layout: Layout, scale: Scale, methods: Sequence[str]) -> None:
    axes.set_xlim(scale.limits)
    draw_background(axes, scale, across=False)
    axes.grid(axis="x", color=GRID_GREY, linewidth=0.5)
    if rows.empty:
        say_empty(axes)
        return
    if scale.by_truth:
        axes.axvline(float(rows["truth"].iloc[0]), color="0.35", linewidth=0.9, zorder=1)
    start = scale.place(scale.reference if scale.reference is not None else 0.0)
    if scale.by_truth:
        start = float(rows["truth"].iloc[0])
    styles = method_looks(methods)
    places = {level: place for place, level in enumerate(layout.inner.levels)}
    for method, name in enumerate(methods):
        mine, style = rows[rows["estimator"] == name], styles[name]
        inner = [places[level] for level in mine[layout.inner.factor]] if layout.inner.factor else [0] * len(mine)
        y = np.array([layout.place(method, level) for level in inner])
        value, mcse = (mine[column].to_numpy(dtype=np.float64) for column in ("value", "mcse"))
        at, (lower, upper) = scale.forward(value), scale.interval(value, mcse)
        known = np.isfinite(at)
        axes.hlines(y[known], start, at[known], color=style.colour, linewidth=0.9, zorder=3)
        ends = np.concatenate([lower[known], upper[known]])
        axes.plot(ends, np.tile(y[known], 2), linestyle="", marker=CAP, color="0.3", markersize=4.0, mew=0.7, zorder=4)
        look = line_look(style) | {"linestyle": "", "markersize": 3.6, "markeredgewidth": 0.8}
        axes.plot(at, y, **look, zorder=5, label=name)
        for k in np.flatnonzero(_beyond(mine, scale)):
            say_beyond(axes, scale, float(value[k]), float(y[k]), style)


def _tick(page: Page, i: int, j: int, layout: Layout, scale: Scale, methods: Sequence[str], room: float) -> None:
    """Names of methods and levels at the left, values at the bottom."""
    axes = page.at(i, j)
    clean(axes)
    bottom, n = page.is_bottom(i * page.n_columns + j), len(layout.inner.levels)
    ticks: LevelTicks = fit_ticks(
        [at for at, _ in scale.shown],
        [text for _, text in scale.shown],
        scale.limits,
        page.width,
        numeric=True,
        first=scale.reference_tick,
    )
    axes.set_xticks([at for at, _ in ticks.ticks], [text if bottom else "" for _, text in ticks.ticks])
    if n == 1:
        axes.set_yticks([layout.place(k, 0) for k in range(len(methods))], list(methods) if j == 0 else [])
        return
    places = [layout.place(k, level) for k in range(len(methods)) for level in range(n)] if j == 0 else []
    axes.set_yticks(places, layout.inner.texts * len(methods) if j == 0 else [])
    axes.tick_params(axis="y", labelsize=SMALLEST, length=1.5)
    for k, name in enumerate(methods if j == 0 else ()):
        middle = (layout.place(k, 0) + layout.place(k, n - 1)) / 2
        x = -(room + 0.02) / page.width
        axes.text(
            x, middle, name, transform=axes.get_yaxis_transform(), fontsize=TICK, ha="right", va="center", color=INK
        )
    for k in range(1, len(methods)):
        axes.axhline(k * layout.height(1), color="0.88", linewidth=0.5, zorder=0.5)

"""Panels: which factor is the x axis and which span panels, or one a method or pair of methods with the same axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from simstudy.report.figures.axis import linear_ticks, tick_text
from simstudy.report.figures.layout import Page, Panels, Words, make_page
from simstudy.report.figures.select import check_name
from simstudy.report.figures.style import GRID_GREY
from simstudy.report.figures.ticks import LevelTicks, fit_ticks, label_ticks, ticks_width
from simstudy.report.figures.words import factor_label, level_text, strip_label

if TYPE_CHECKING:
    from matplotlib.artist import Artist

MAX_PANEL_ROWS = 8
MAX_PANEL_COLUMNS = 8
LOG_RANGE = 4.0
"""From this ratio of the largest to the smallest level on, numeric x axes are logarithmic."""
Strip = tuple[str, Mapping[str, object]]
Ticks = Sequence[tuple[float, str]]
LARGEST_PANEL = 3.6


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
    numeric : bool
        Whether the levels are numbers.
    """

    factor: str
    levels: tuple[object, ...]
    positions: tuple[float, ...]
    numeric: bool = True

    @property
    def span(self) -> tuple[float, float]:
        """Ends of the axis."""
        low, high = min(self.positions), max(self.positions)
        pad = 0.11 * (high - low) if len(self.positions) > 1 else 0.6
        return low - pad, high + pad

    @property
    def label(self) -> str:
        """Name of the factor."""
        return factor_label(self.factor) if self.factor else ""

    @property
    def texts(self) -> list[str]:
        """Levels as they are written."""
        return [level_text(level) for level in self.levels]


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
    rows: tuple[Strip, ...]
    columns: tuple[Strip, ...]
    hidden_rows: int
    hidden_columns: int

    @property
    def notes(self) -> list[str]:
        """Say how many panels are not drawn."""
        hidden = [(self.hidden_rows, "rows"), (self.hidden_columns, "columns")]
        text = "more panel {} are not drawn; levels can be chosen (--where, where=)."
        return [f"{count} {text.format(what)}" for count, what in hidden if count]


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


def make_axis(factor: str, levels: Sequence[object]) -> Axis:
    """Axis of a factor, logarithmic where the levels are far apart."""
    numbers = [as_number(level) for level in levels]
    if not factor or any(math.isnan(number) for number in numbers):
        return Axis(factor, tuple(levels), tuple(float(place) for place in range(len(levels))), numeric=False)
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
        check_name("x", x, factors)
    across = x if x is not None else x_factor(levels)

    others = [factor for factor in varying if factor != across]
    row = "icc" if "icc" in others else ""
    column = "cluster_size" if "cluster_size" in others else ""
    rest = [factor for factor in others if factor not in (row, column)]
    if not column:
        column = rest.pop(0) if rest else row
        row = "" if column == row else row
    if not row and rest:
        row = rest.pop(0)
    rows = make_strips([row, *rest] if row else [], data, levels)
    columns = make_strips([column] if column else [], data, levels)
    return Grid(
        x=make_axis(across, levels.get(across, [""])),
        rows=tuple(rows[:MAX_PANEL_ROWS]),
        columns=tuple(columns[:MAX_PANEL_COLUMNS]),
        hidden_rows=max(len(rows) - MAX_PANEL_ROWS, 0),
        hidden_columns=max(len(columns) - MAX_PANEL_COLUMNS, 0),
    )


def x_factor(levels: Mapping[str, Sequence[object]]) -> str:
    """Number of clusters if it varies, or the first numeric factor that does, or the first; empty if none does."""
    varying = [factor for factor, found in levels.items() if len(found) > 1]
    numeric = [name for name in varying if not any(math.isnan(as_number(level)) for level in levels[name])]
    return [*(name for name in ("n_clusters",) if name in varying), *numeric, *varying, ""][0]


def make_strips(
    factors: Sequence[str], data: pd.DataFrame, levels: Mapping[str, Sequence[object]] | None = None
) -> list[Strip]:
    """Combinations of levels that occur, each with its title; one empty combination without factors."""
    if not factors:
        return [("", {})]
    order = levels or {factor: in_level_order(data[factor].tolist()) for factor in factors}
    occurring = dict.fromkeys(data[list(factors)].itertuples(index=False, name=None))
    places = [{level: place for place, level in enumerate(order[factor])} for factor in factors]
    ordered = sorted(occurring, key=lambda values: [place[value] for place, value in zip(places, values, strict=True)])
    strips: list[Strip] = []
    for values in ordered:
        pairs = dict(zip(factors, values, strict=True))
        title = ", ".join(f"{strip_label(name)} =\u00a0{level_text(value)}" for name, value in pairs.items())
        strips.append((title, pairs))
    return strips


def rows_at(data: pd.DataFrame, levels: Mapping[str, object]) -> pd.DataFrame:
    """Rows with these levels of the factors."""
    for factor, level in levels.items():
        data = data[data[factor] == level]
    return data


def drawn_rows(data: pd.DataFrame, strips: Sequence[Strip]) -> pd.DataFrame:
    """Rows that belong to one of the panels."""
    inside = np.zeros(len(data), dtype=np.bool_)
    for _, levels in strips:
        match = np.ones(len(data), dtype=np.bool_)
        for factor, level in levels.items():
            match &= (data[factor] == level).to_numpy(dtype=np.bool_)
        inside |= match
    return data[inside]


def condition(data: pd.DataFrame, factors: Sequence[str]) -> dict[str, object]:
    """Levels of the factors that are the same in all rows of a figure."""
    constant = {name: data[name].iloc[0] for name in factors if data[name].nunique() == 1}
    return {name: level for name, level in constant.items() if not isinstance(level, float) or math.isfinite(level)}


def panel_columns(count: int) -> int:
    """Panels beside each other."""
    if count <= 4:
        return count
    rows = -(-count // (3 if count <= 9 else 6))
    return -(-count // rows)


def numeric_ticks(low: float, high: float, count: int = 4) -> list[tuple[float, str]]:
    """Round places and their texts."""
    ticks = linear_ticks(low, high, count)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
    return [(tick, tick_text(tick, step)) for tick in ticks]


def make_facets(
    words: Words,
    keys: Sequence[Artist],
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    *,
    heights: tuple[float, float],
    smallest: float = 1.0,
    up: Ticks | None = None,
    grid: bool = True,
) -> Page:
    """Make a page with a panel a title in ``words.panels``, all with the same limits and ticks.

    Parameters
    ----------
    words : Words
    keys : sequence of Artist
        Legend.
    xlim, ylim : (float, float)
        Ends of the axes.
    heights : (float, float)
        Inches of a panel, if there is one row and if there are several.
    smallest : float
        Smallest width of a panel, in inches.
    up : sequence of (float, str), optional
        Ticks of y; by default round numbers.
    grid : bool
        Draw a grid.
    """
    count = len(words.panels)
    n_columns = panel_columns(count)
    n_rows = -(-count // n_columns)
    ticks = numeric_ticks(*ylim) if up is None else up
    panels = Panels(
        n_rows,
        n_columns,
        (heights[0] if n_rows == 1 else heights[1],) * n_rows,
        width=(smallest, LARGEST_PANEL),
        n_panels=count,
        left=ticks_width([text for _, text in ticks]),
        below=LevelTicks(()).height,
    )
    page = make_page(words, panels, keys)
    across = numeric_ticks(*xlim)
    fitted = fit_ticks([at for at, _ in across], [text for _, text in across], xlim, page.width, numeric=True)
    for axes in page.axes:
        axes.set_xlim(xlim)
        axes.set_ylim(ylim)
        if grid:
            axes.grid(color=GRID_GREY, linewidth=0.5)
    label_ticks(page, fitted, ticks)
    return page

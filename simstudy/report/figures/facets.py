"""Panels of one kind beside each other, one a method or a pair of methods, with the same axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from simstudy.report.figures.axis import linear_ticks, tick_text
from simstudy.report.figures.layout import Page, Panels, Words, make_page
from simstudy.report.figures.style import GRID_GREY
from simstudy.report.figures.ticks import LevelTicks, fit_ticks, label_ticks, ticks_width

if TYPE_CHECKING:
    from matplotlib.artist import Artist

Ticks = Sequence[tuple[float, str]]
LARGEST_PANEL = 3.6


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

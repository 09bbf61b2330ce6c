"""Nested-loop plots: every cell of a study in one strip, its factors as steps below (Rücker & Schwarzer, 2014).

Rücker, G. & Schwarzer, G. (2014). Presenting simulation results in a nested loop plot. BMC Medical Research Methodology
14:129. Convergence and admissibility are drawn this way too.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from simstudy.methods.look import Look
from simstudy.report.figures import words as say
from simstudy.report.figures.axis import Scale, measure_scale
from simstudy.report.figures.bands import check_band
from simstudy.report.figures.describe import by_cell
from simstudy.report.figures.layout import Page, Panels, Words, make_page
from simstudy.report.figures.marks import Clipped, draw_background, line_look, method_keys, scale_keys
from simstudy.report.figures.panels import condition, in_level_order, make_strips, x_factor
from simstudy.report.figures.registry import (
    CELLS,
    TABLE,
    Drawing,
    FigureKind,
    Request,
    figure_functions,
    register_figure,
)
from simstudy.report.figures.select import check_name, factor_columns, names_in
from simstudy.report.figures.style import (
    GRID_GREY,
    INK,
    NOTE,
    band_alpha,
    method_looks,
    text_width,
)
from simstudy.report.figures.ticks import clean, ticks_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = npt.NDArray[np.float64]
HEIGHT, HEIGHT_OF_SEVERAL, STRIP_HEIGHT = 2.5, 1.55, 0.40
MARKER_ROOM = 0.075
"""Inches along x for a marker."""
THICK, THIN = 2.3, 0.9
"""Line widths of the first and the last method: of lines at one place, the lower ones look out."""
CONVERGENCE = ("convergence", "admissibility")


@dataclass(frozen=True)
class Loop:
    """Cells in the order of the strip.

    Parameters
    ----------
    factors : tuple of str
        Varying factors, from the slowest to the fastest.
    cells : tuple of int
    levels : mapping of factor to tuple
        Level of each cell.
    """

    factors: tuple[str, ...]
    cells: tuple[int, ...]
    levels: Mapping[str, tuple[object, ...]]


def draw_nested_loop(performance: pd.DataFrame, asked: Request) -> Drawing:
    """Draw measures of every method in every cell along one strip, with the factors' levels below, `x` the fastest."""
    check_band(asked.band, asked.measures)
    data, factors = asked.rows(performance), factor_columns(performance)
    loop = make_loop(data, factors, asked.x)
    order = {cell: place for place, cell in enumerate(loop.cells)}
    data = data.iloc[np.argsort(data["cell"].map(order).to_numpy(), kind="stable")]
    title = say.figure_title(data, asked.measures, asked.parameter, asked.level)
    scales = {name: measure_scale(data, name, asked.level, asked.band) for name in asked.measures}
    page = _draw(data, loop, scales, title, say.about_words(data, condition(data, factors)))
    stem = ("nested-loop", *asked.measures, asked.parameter, *asked.stem())
    return Drawing(page.figure, data, title, stem, loop.factors[-1] if loop.factors else "")


def draw_convergence(performance: pd.DataFrame, asked: Request) -> Drawing:
    """Draw how often every method converged, and how often its solution was admissible, in every cell."""
    return replace(draw_nested_loop(performance, asked), stem=("convergence", *asked.stem()))


nested_loop_chart, plot_nested_loop = figure_functions(register_figure(FigureKind(
    "nested-loop", "all cells in one strip, factors below", "performance", draw_nested_loop, by_cell,
    ("measures", "x", *TABLE), {"measures": ("bias",)}, several=True,
)))  # fmt: skip
convergence_chart, plot_convergence = figure_functions(register_figure(FigureKind(
    "convergence", "convergence and admissibility", "performance", draw_convergence, by_cell,
    ("x", *CELLS), {"measures": CONVERGENCE}, in_report=True,
)))  # fmt: skip


def make_loop(data: pd.DataFrame, factors: Sequence[str], x: str | None = None) -> Loop:
    """Order the cells: the factors of the study from the slowest to the fastest, `x` the fastest."""
    levels = {factor: in_level_order(data[factor].tolist()) for factor in factors}
    if x is not None:
        check_name("x", x, factors)
    fastest = x if x is not None else x_factor(levels)
    varying = [factor for factor in factors if len(levels[factor]) > 1 and factor != fastest]
    order = [*varying, *([fastest] if len(levels.get(fastest, ())) > 1 else [])]
    cells = data.drop_duplicates("cell")
    places = {
        tuple(strip.values()): place for place, (_, strip) in enumerate(make_strips(order, cells, levels)) if strip
    }
    rank = [places.get(values, 0) for values in cells[order].itertuples(index=False, name=None)] if order else [0]
    cells = cells.iloc[np.argsort(rank, kind="stable")]
    return Loop(
        tuple(order),
        tuple(int(cell) for cell in cells["cell"]),
        {factor: tuple(cells[factor]) for factor in order},
    )


def _draw(data: pd.DataFrame, loop: Loop, scales: Mapping[str, Scale], title: str, about: str) -> Page:
    methods = names_in(data, "estimator")
    styles = method_looks(methods)
    clipped = {name: Clipped(scale) for name, scale in scales.items()}
    measures = list(scales)
    notes = say.data_notes(data)
    notes += [clipped[name].note(data[data["measure"] == name]) for name in measures]
    heights = (HEIGHT if len(scales) == 1 else HEIGHT_OF_SEVERAL,) * len(scales) + (STRIP_HEIGHT,) * len(loop.factors)
    panels = Panels(
        len(heights),
        1,
        heights,
        width=(2.0, 9.0),
        left=ticks_width([text for scale in scales.values() for _, text in scale.shown]),
        below=0.02,
        gaps=(0.14,) * (len(scales) - 1) + (0.04,) * len(loop.factors),
        target=7.2 if len(loop.cells) > 4 else 4.6,
    )
    words = Words(
        title,
        about,
        y=(*(scale.label for scale in scales.values()), *("" for _ in loop.factors)),
        notes=say.sentences(*notes),
    )
    keys = method_keys(methods, styles, data)
    for place, scale in enumerate(scales.values()):
        known = {str(key.get_label()) for key in keys}
        last = place == len(scales) - 1
        keys += [key for key in scale_keys(scale, "± 1.96 MCSE" if last else "") if str(key.get_label()) not in known]
    page = make_page(words, panels, keys)
    for place, name in enumerate(measures):
        rows = data[data["measure"] == name]
        _draw_measure(page.axes[place], rows, loop, scales[name], styles, clipped[name], page.width)
    for axes, factor in zip(page.axes[len(measures) :], loop.factors, strict=True):
        _draw_factor(axes, factor, loop, page.width)
    return page


def _draw_measure(
    axes: Axes,
    data: pd.DataFrame,
    loop: Loop,
    scale: Scale,
    styles: Mapping[str, Look],
    clipped: Clipped,
    width: float,
) -> None:
    """Steps of every method, with bands, and with markers at places of its own."""
    count, n_methods = len(loop.cells), len(styles)
    draw_background(axes, scale)
    axes.set_xlim(0, count)
    axes.set_ylim(scale.limits)
    axes.set_xticks([])
    axes.set_yticks([at for at, _ in scale.shown], [text for _, text in scale.shown])
    axes.grid(axis="y", color=GRID_GREY, linewidth=0.5)
    clean(axes)
    if loop.factors:
        for edge in _runs(loop.levels[loop.factors[0]])[1:]:
            axes.axvline(edge, color="0.8", linewidth=0.6, zorder=0.8)
    edges = np.arange(count + 1, dtype=np.float64)
    stride = max(1, int(np.ceil(MARKER_ROOM * n_methods * count / width)))
    if scale.by_truth:
        truth = data.drop_duplicates("cell").set_index("cell")["truth"].reindex(list(loop.cells)).to_numpy(dtype=float)
        axes.step(edges, np.append(truth, truth[-1]), where="post", color="0.35", linewidth=0.9, zorder=1)
    for place, (name, style) in enumerate(styles.items()):
        mine = data[data["estimator"] == name].set_index("cell").reindex(list(loop.cells))
        value, mcse = (mine[column].to_numpy(dtype=np.float64) for column in ("value", "mcse"))
        y, (lower, upper) = scale.forward(value), scale.interval(value, mcse)
        steps = [np.append(part, part[-1]) for part in (y, lower, upper)]
        look = line_look(style)
        look["linewidth"] = THICK + (THIN - THICK) * (place / max(n_methods - 1, 1))
        axes.fill_between(
            edges,
            steps[1],
            steps[2],
            step="post",
            color=style.colour,
            alpha=band_alpha(n_methods),
            linewidth=0,
            zorder=2,
        )
        marked = np.arange(count) % stride == place * stride // n_methods
        at = np.arange(count) + (place + 0.5) / n_methods if stride == 1 else np.arange(count) + 0.5
        axes.step(edges, steps[0], where="post", **{**look, "marker": ""}, zorder=10 + place, label=name)
        axes.plot(at[marked], y[marked], **{**look, "linestyle": ""}, zorder=40 + place, label=f"{name} markers")
        clipped.mark(axes, np.arange(count, dtype=np.float64) + 0.5, value, style, width)


def _runs(levels: Sequence[object]) -> list[int]:
    """Where runs of one level begin."""
    starts, place = [], 0
    for _, run in itertools.groupby(levels):
        starts.append(place)
        place += len(list(run))
    return starts


def _draw_factor(axes: Axes, factor: str, loop: Loop, width: float) -> None:
    """Levels of a factor as steps, named in every run if they fit, otherwise once."""
    levels, count = loop.levels[factor], len(loop.cells)
    order = in_level_order(list(levels))
    step = {level: (place + 0.5) / len(order) * 0.5 for place, level in enumerate(order)}
    heights = [step[level] for level in levels]
    axes.step(np.arange(count + 1), [*heights, heights[-1]], where="post", color="0.2", linewidth=1.0, label=factor)
    axes.set_xlim(0, count)
    axes.set_ylim(0, 1)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    starts = _runs(levels)
    ends = [*starts[1:], count]
    texts = [say.level_text(levels[start]) for start in starts]
    fits = all(
        text_width(text, NOTE) + 0.03 <= (end - start) * width / count
        for text, start, end in zip(texts, starts, ends, strict=True)
    )
    name = say.factor_label(factor)
    named = fits and text_width(name, NOTE) + text_width(texts[0], NOTE) / 2 + 0.1 <= ends[0] / 2 * width / count
    look: dict[str, Any] = {"fontsize": NOTE, "color": INK, "va": "center_baseline"}
    suffix = "" if named else f": {', '.join(say.level_text(level) for level in order)} (from low to high)"
    axes.text(0, 0.8, f"{name}{suffix}", ha="left", **look)
    if named:
        for text, start, end in zip(texts, starts, ends, strict=True):
            axes.text((start + end) / 2, 0.8, text, ha="center", **look)

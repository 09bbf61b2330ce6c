"""Estimate against standard error, a point a replicate, a panel a method (Morris, White & Crowther, 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from simstudy.errors import SimstudyError
from simstudy.methods.look import Look
from simstudy.report.figures.describe import number
from simstudy.report.figures.layout import Page, Words
from simstudy.report.figures.marks import line_key
from simstudy.report.figures.panels import make_facets
from simstudy.report.figures.registry import (
    REPLICATES,
    Drawing,
    FigureKind,
    Request,
    figure_functions,
    register_figure,
)
from simstudy.report.figures.replicates import FloatArray, Replicates, central_limits, one_cell
from simstudy.report.figures.style import INK, REFERENCE_GREY, method_looks
from simstudy.report.figures.words import sentences, truth_words

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MAX_POINTS = 2000
"""Replicates drawn in a panel: the first ones, which are a random sample, for replicates are independent."""
HEIGHTS = (2.1, 1.6)


def draw_scatter(replicates: pd.DataFrame, asked: Request) -> Drawing:
    """Draw the estimate of every replicate against its standard error.

    Above `MAX_POINTS` replicates a panel the first ones are drawn, and a note says so.
    """
    found = one_cell(replicates, asked.parameter, asked.chosen, asked.level)
    everything = {name: rows[np.isfinite(rows["se"])] for name, rows in found.methods.items()}
    everything = {name: rows for name, rows in everything.items() if len(rows)}
    if not everything:
        raise SimstudyError(f"parameter '{found.parameter}', cell {found.cell}: no method has standard errors")
    drawn = {name: _with_summary(rows, found.truth) for name, rows in everything.items()}
    title = f"Estimate and standard error: {found.name}"
    page = _draw(found, drawn, {name: len(rows) for name, rows in everything.items()}, title)
    data = pd.concat(list(drawn.values()), ignore_index=True)
    return Drawing(page.figure, data, title, ("scatter", *found.stem(asked.chosen)))


def _words(drawn: Drawing) -> str:
    """Empirical and model SE of each method."""
    data = drawn.data
    first = data.drop_duplicates("estimator")
    rows = zip(
        first["estimator"],
        *(first[name].to_numpy(dtype=np.float64).tolist() for name in ("empirical_se", "model_se")),
        strict=True,
    )
    parts = [f"{name} {number(empirical)} and {number(model)}" for name, empirical, model in rows]
    return f"{drawn.title}, {truth_words(data['truth'])}. Empirical and model SE: {'; '.join(parts)}."


scatter_chart, plot_scatter = figure_functions(register_figure(FigureKind(
    "scatter", "estimate against standard error", "replicates", draw_scatter, _words, REPLICATES
)))  # fmt: skip


def _with_summary(rows: pd.DataFrame, truth: float) -> pd.DataFrame:
    """The replicates to be drawn, with the empirical and the model SE of all of them."""
    estimate, se = (rows[name].to_numpy(dtype=np.float64) for name in ("estimate", "se"))
    with np.errstate(over="ignore"):
        model_se = float(np.sqrt(np.mean(se**2)))
        empirical_se = float(np.std(estimate, ddof=1)) if len(estimate) > 1 else np.nan
    covers = (rows["lower"] <= truth) & (truth <= rows["upper"])
    return rows.assign(covers=covers, empirical_se=empirical_se, model_se=model_se).head(MAX_POINTS)


def _draw(found: Replicates, drawn: dict[str, pd.DataFrame], counts: dict[str, int], title: str) -> Page:
    x = [rows["estimate"].to_numpy(dtype=np.float64) for rows in drawn.values()]
    y = [rows["se"].to_numpy(dtype=np.float64) for rows in drawn.values()]
    xlim, ylim = central_limits(x, [found.truth]), central_limits(y)
    ylim = (max(ylim[0], 0.0) if min(part.min() for part in y) >= 0 else ylim[0], ylim[1])
    outside = int(sum(len(rows) - int(inside(rows, xlim, ylim).sum()) for rows in drawn.values()))
    words = Words(
        title,
        found.about,
        f"Estimate of {found.name}",
        "Standard error",
        panels=tuple(drawn),
        notes=_notes(found, drawn, counts, outside),
    )
    page = make_facets(words, _keys(known=bool(np.isfinite(found.truth))), xlim, ylim, heights=HEIGHTS)
    styles = method_looks(list(drawn))
    for axes, (name, rows) in zip(page.axes, drawn.items(), strict=True):
        _draw_points(axes, rows, found.truth, styles[name])
    return page


def _notes(found: Replicates, drawn: dict[str, pd.DataFrame], counts: dict[str, int], outside: int) -> tuple[str, ...]:
    few = [f"{name} {len(rows):,} of {counts[name]:,}" for name, rows in drawn.items() if len(rows) < counts[name]]
    without = [name for name in found.methods if name not in drawn]
    return sentences(
        "A point a replicate." if not few else f"A point a replicate, of the first {MAX_POINTS:,}: {', '.join(few)}.",
        "Model SE: root of the mean squared SE; empirical SE: SD of the estimates, both of all replicates.",
        found.kind_note,
        f"Crosses at the edge: beyond the axes ({outside:,})." if outside else "",
        found.silent_note,
        f"Without standard errors: {', '.join(without)}." if without else "",
    )


def _keys(known: bool) -> list[Artist]:
    """Legend; intervals are told apart only if the truth is `known`."""
    point = {"linestyle": "", "marker": "o", "markersize": 3.0, "color": "0.45"}
    spread = [
        line_key("empirical SE", color=INK, linestyle=":", linewidth=1.1),
        line_key("model SE", color=INK, linestyle=(0, (4, 1.5))),
    ]
    if not known:
        return [line_key("replicate", **point), *spread]
    missed = line_key("misses it", linestyle="", marker="x", markersize=3.2, color="0.1")
    return [line_key("interval holds the truth", **point), missed, line_key("truth", color=INK), *spread]


def inside(
    rows: pd.DataFrame, xlim: tuple[float, float], ylim: tuple[float, float], x: str = "estimate", y: str = "se"
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell which points lie inside the axes."""
    at, up = rows[x].to_numpy(dtype=np.float64), rows[y].to_numpy(dtype=np.float64)
    return np.asarray((xlim[0] <= at) & (at <= xlim[1]) & (ylim[0] <= up) & (up <= ylim[1]))


def draw_outside(axes: Axes, x: FloatArray, y: FloatArray, colour: str) -> None:
    """Crosses at the edge for points beyond the axes."""
    xlim, ylim = axes.get_xlim(), axes.get_ylim()
    at, up = np.clip(x, *xlim), np.clip(y, *ylim)
    axes.plot(
        at, up, linestyle="", marker="+", color=colour, markersize=4.5, mew=0.9, clip_on=False, zorder=6, label="beyond"
    )


def _draw_points(axes: Axes, rows: pd.DataFrame, truth: float, style: Look) -> None:
    here = inside(rows, axes.get_xlim(), axes.get_ylim())
    covers = rows["covers"].to_numpy(dtype=np.bool_) if np.isfinite(truth) else np.ones(len(rows), dtype=np.bool_)
    x, y = (rows[name].to_numpy(dtype=np.float64) for name in ("estimate", "se"))
    look: dict[str, Any] = {"linestyle": "", "zorder": 2}
    opacity = float(np.clip(120.0 / max(len(rows), 1), 0.25, 0.8))
    axes.plot(
        x[here & covers], y[here & covers], marker="o", markersize=2.2, mew=0, color=style.colour, alpha=opacity,
        label="covers", **look,
    )  # fmt: skip
    axes.plot(
        x[here & ~covers], y[here & ~covers], marker="x", markersize=2.6, mew=0.6, color=style.colour, alpha=0.8,
        label="misses", **look,
    )  # fmt: skip
    draw_outside(axes, x[~here], y[~here], style.colour)
    if np.isfinite(truth):
        axes.axvline(truth, color=INK, linewidth=0.9, zorder=4)
    for column, line in (("empirical_se", ":"), ("model_se", (0, (4, 1.5)))):
        value = float(rows[column].iloc[0])
        if axes.get_ylim()[0] <= value <= axes.get_ylim()[1]:
            axes.axhline(value, color=REFERENCE_GREY if line == ":" else INK, linewidth=1.0, linestyle=line, zorder=4)

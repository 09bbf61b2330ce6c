r"""Zip plots: every interval of a method, ranked by how far its estimate is off (Morris, White & Crowther, 2019).

Intervals are stacked by the centile of \|z\| = \|estimate - truth\|/SE.  With the right SEs, the lower 95 % of 95 %
intervals hold the truth and the upper 5 % miss it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from simstudy.errors import SimstudyError
from simstudy.methods.look import BLUE, VERMILLION
from simstudy.performance.rates import coverage
from simstudy.report.figures.axis import Z_BAND
from simstudy.report.figures.layout import Page, Words
from simstudy.report.figures.marks import line_key, patch_key
from simstudy.report.figures.panels import make_facets
from simstudy.report.figures.registry import (
    REPLICATES,
    Drawing,
    FigureKind,
    Request,
    figure_functions,
    register_figure,
)
from simstudy.report.figures.replicates import Replicates, central_limits, one_cell
from simstudy.report.figures.style import INK, REFERENCE_GREY
from simstudy.report.figures.words import percent_level, sentences, truth_words

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MAX_LINES = 1000
"""Intervals drawn in a panel; of more, every k-th by rank."""
HEIGHTS = (3.0, 2.1)


def draw_zip(replicates: pd.DataFrame, asked: Request) -> Drawing:
    """Draw every interval of a parameter in one cell, ranked by |z|, with coverage and its Monte Carlo error.

    Above `MAX_LINES` intervals a panel every k-th is drawn, and a note says so.
    """
    found = one_cell(replicates, asked.parameter, asked.chosen, asked.level)
    if not np.isfinite(found.truth):
        raise SimstudyError(f"parameter '{found.parameter}' has no true value, so that no interval can hold or miss it")
    ranked = {name: _ranked(rows, found.truth) for name, rows in found.methods.items()}
    ranked = {name: rows for name, rows in ranked.items() if len(rows)}
    if not ranked:
        raise SimstudyError(f"parameter '{found.parameter}', cell {found.cell}: no method has intervals")
    step = {name: -(-len(rows) // MAX_LINES) for name, rows in ranked.items()}
    drawn = {name: rows.iloc[(len(rows) - 1) % step[name] :: step[name]] for name, rows in ranked.items()}
    title = f"Zip plot of {percent_level(asked.level)} intervals: {found.name}"
    page = _draw(found, ranked, drawn, step, title, asked.level)
    data = pd.concat(list(drawn.values()), ignore_index=True)
    return Drawing(page.figure, data, title, ("zip", *found.stem(asked.chosen)))


def _words(drawn: Drawing) -> str:
    """Coverage of each method."""
    data = drawn.data
    first = data.drop_duplicates("estimator")
    rows = zip(first["estimator"], first["coverage"], first["coverage_mcse"], first["n"], strict=True)
    parts = [f"{name} {100 * share:.1f}% (MCSE {100 * mcse:.1f}) of {n:,}" for name, share, mcse, n in rows]
    return f"{drawn.title}, {truth_words(data['truth'])}, ranked by |z|. Coverage: {'; '.join(parts)}."


zip_chart, plot_zip = figure_functions(
    register_figure(FigureKind("zip", "intervals ranked, coverage", "replicates", draw_zip, _words, REPLICATES))
)


def _ranked(rows: pd.DataFrame, truth: float) -> pd.DataFrame:
    """Intervals by |z| with their centile and whether they hold the truth; coverage of all of them in every row."""
    rows = rows[np.isfinite(rows["lower"]) & np.isfinite(rows["upper"])]
    se = (
        rows["se"]
        .where(rows["se"].notna(), (rows["upper"] - rows["lower"]) / (2.0 * Z_BAND))
        .to_numpy(dtype=np.float64)
    )
    off = np.abs(rows["estimate"].to_numpy(dtype=np.float64) - truth)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(se > 0, off / se, np.where(off > 0, np.inf, 0.0))
    order = np.argsort(z, kind="stable")
    rows, z = rows.iloc[order], z[order]
    lower, upper = (rows[name].to_numpy(dtype=np.float64)[:, None] for name in ("lower", "upper"))
    share = coverage(lower, upper, np.array([truth]))
    covers = (lower <= truth) & (truth <= upper)
    return rows.assign(
        z=z,
        centile=100.0 * (np.arange(len(rows)) + 0.5) / max(len(rows), 1),
        covers=covers[:, 0],
        coverage=float(share.value[0]),
        coverage_mcse=float(share.mcse[0]),
        n=int(share.n[0]),
    )


def _draw(
    found: Replicates,
    ranked: dict[str, pd.DataFrame],
    drawn: dict[str, pd.DataFrame],
    step: dict[str, int],
    title: str,
    level: float,
) -> Page:
    ends = [rows[["lower", "upper"]].to_numpy(dtype=np.float64).ravel() for rows in drawn.values()]
    low, high = central_limits(ends, [found.truth])
    cut = int(sum(((rows["lower"] < low) | (rows["upper"] > high)).sum() for rows in drawn.values()))
    words = Words(
        title,
        found.about,
        found.name,
        "Centile of |z|",
        panels=tuple(f"{name}: {_coverage_words(rows)}" for name, rows in drawn.items()),
        notes=_notes(found, ranked, step, cut),
    )
    centiles = sorted({0.0, 25.0, 50.0, 75.0, 100.0 * level, *((100.0,) if level < 0.93 else ())})
    up = [(centile, f"{centile:g}") for centile in centiles]
    page = make_facets(words, _keys(level), (low, high), (0.0, 100.0), heights=HEIGHTS, up=up, grid=False)
    for axes, rows in zip(page.axes, drawn.values(), strict=True):
        _draw_intervals(axes, rows, found.truth, level, page.heights[0])
    return page


def _notes(found: Replicates, ranked: dict[str, pd.DataFrame], step: dict[str, int], cut: int) -> tuple[str, ...]:
    thinned = [f"{name} one in {k}" for name, k in step.items() if k > 1]
    without = [name for name in found.methods if name not in ranked]
    return sentences(
        f"Intervals from the lowest to the highest |z| = |estimate − truth| / SE, {_counts(ranked)} a method; between "
        "the dashed lines, coverage ± 1.96 MCSE.",
        found.kind_note,
        found.silent_note,
        f"Not all intervals are drawn ({', '.join(thinned)}, by rank); coverage is of all." if thinned else "",
        f"{cut:,} interval{'s reach' if cut != 1 else ' reaches'} beyond the axis." if cut else "",
        f"Without intervals: {', '.join(without)}." if without else "",
    )


def _keys(level: float) -> list[Artist]:
    return [
        patch_key("holds the truth", facecolor=_light(BLUE)),
        patch_key("misses it", facecolor=VERMILLION),
        line_key("truth", color=INK),
        line_key("coverage ± 1.96 MCSE", linestyle=(0, (3, 1.5)), color=INK),
        line_key(f"nominal {percent_level(level)}", linestyle=":", color=INK),
    ]


def _light(colour: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    red, green, blue = (0.45 * part + 0.55 for part in to_rgb(colour))
    return red, green, blue


def _draw_intervals(axes: Axes, rows: pd.DataFrame, truth: float, level: float, height: float) -> None:
    from matplotlib.collections import LineCollection

    width = max(0.35, min(2.5, 72.0 * height / max(len(rows), 1)))
    columns = (rows[name].to_numpy(dtype=np.float64) for name in ("lower", "upper", "centile"))
    lower, upper, centile = columns
    covers = rows["covers"].to_numpy(dtype=np.bool_)
    for chosen, colour, label in ((covers, _light(BLUE), "covers"), (~covers, VERMILLION, "misses")):
        ends = np.stack([np.stack([lower, centile], -1), np.stack([upper, centile], -1)], 1)[chosen]
        axes.add_collection(LineCollection(list(ends), colors=[colour], linewidths=width, zorder=2, label=label))
    axes.axvline(truth, color=INK, linewidth=0.9, zorder=3)
    axes.axhline(100.0 * level, color=INK, linewidth=0.8, linestyle=":", zorder=3)
    share, mcse = float(rows["coverage"].iloc[0]), float(rows["coverage_mcse"].iloc[0])
    for end in (share - Z_BAND * mcse, share + Z_BAND * mcse):
        at = 100.0 * min(max(end, 0.0), 1.0)
        axes.axhline(at, color=INK, linewidth=0.8, linestyle=(0, (3, 1.5)), zorder=4, clip_on=False)
    axes.axhspan(
        100.0 * max(share - Z_BAND * mcse, 0.0),
        100.0 * min(share + Z_BAND * mcse, 1.0),
        facecolor=REFERENCE_GREY,
        alpha=0.12,
        linewidth=0,
        zorder=3.5,
    )


def _coverage_words(rows: pd.DataFrame) -> str:
    return f"coverage {100.0 * float(rows['coverage'].iloc[0]):.1f}%"


def _counts(ranked: dict[str, pd.DataFrame]) -> str:
    counts = {len(rows) for rows in ranked.values()}
    return f"{min(counts):,}" if len(counts) == 1 else f"{min(counts):,} to {max(counts):,}"

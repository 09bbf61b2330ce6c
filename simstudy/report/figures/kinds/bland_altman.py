"""Bland-Altman plots: differences between two methods on the same replicates, with limits of agreement.

Bland, J. M. & Altman, D. G. (1986). Statistical methods for assessing agreement between two methods of clinical
measurement. Lancet 327:307.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from simstudy.errors import SimstudyError
from simstudy.methods.look import Look
from simstudy.report.figures.axis import Z_BAND
from simstudy.report.figures.describe import number
from simstudy.report.figures.kinds.scatter import MAX_POINTS, draw_outside, inside
from simstudy.report.figures.layout import Page, Words
from simstudy.report.figures.marks import line_key, patch_key
from simstudy.report.figures.panels import make_facets, numeric_ticks
from simstudy.report.figures.registry import (
    REPLICATES,
    Drawing,
    FigureKind,
    Request,
    figure_functions,
    register_figure,
)
from simstudy.report.figures.replicates import Replicates, central_limits, one_cell
from simstudy.report.figures.select import check_name
from simstudy.report.figures.style import INK, method_looks
from simstudy.report.figures.words import sentences

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

HEIGHTS = (2.3, 1.6)
Pair = tuple[str, str]
REFERENCE = "msem"
ROUNDING = 1e-9
"""Share of the estimates below which differences are those of other sums in other orders."""
OF = {"estimate": "Estimate", "se": "Standard error"}


def draw_bland_altman(replicates: pd.DataFrame, asked: Request) -> Drawing:
    """Draw differences between methods on the same replicates against their mean.

    Without `compare` it is every method minus `msem`, or minus the first method with estimates if there is none of that
    name. Above 2,000 replicates a panel the first ones are drawn, and a note says so; the lines are of all.
    """
    compare, of = asked.own.get("compare"), asked.own["of"]
    check_name("of", of, list(OF))
    chosen = asked.chosen if compare is None else replace(asked.chosen, estimators=[*compare])
    found = one_cell(replicates, asked.parameter, chosen, asked.level)
    pairs = _pairs(found, compare)
    tables = {pair: _differences(found, pair, of) for pair in pairs}
    empty = [f"{a} and {b}" for (a, b), rows in tables.items() if rows.empty]
    tables = {pair: rows for pair, rows in tables.items() if len(rows)}
    if not tables:
        raise SimstudyError(f"compare: {', '.join(empty) or 'the methods'} share no replicate with numbers")
    title = f"Agreement of methods, {OF[of].lower()}: {found.name}"
    drawn = {pair: rows.head(MAX_POINTS) for pair, rows in tables.items()}
    page = _draw(found, drawn, {pair: len(rows) for pair, rows in tables.items()}, title, OF[of], empty)
    data = pd.concat(list(drawn.values()), ignore_index=True)
    stem = ("bland-altman", "" if of == "estimate" else of, found.parameter, f"cell-{found.cell}", *(compare or ()))
    return Drawing(page.figure, data, title, stem)


def _words(drawn: Drawing) -> str:
    """Mean difference and limits of agreement of each pair."""
    data = drawn.data
    first = data.drop_duplicates(["method", "reference"])
    parts = [
        f"{row['method']} − {row['reference']} {number(float(row['mean_difference']))} "
        f"({number(float(row['lower_limit']))} to {number(float(row['upper_limit']))}, n = {row['n']:,})"
        for row in first.to_dict("records")
    ]
    return f"{drawn.title}. Mean difference and limits of agreement: {'; '.join(parts)}."


bland_altman_chart, plot_bland_altman = figure_functions(register_figure(FigureKind(
    "bland-altman", "agreement of methods on the same replicates", "replicates", draw_bland_altman, _words,
    (*REPLICATES, "compare", "of"), {"of": "estimate"},
)))  # fmt: skip


def _pairs(found: Replicates, compare: tuple[str, str] | None) -> list[tuple[str, str]]:
    if compare is not None:
        if compare[0] == compare[1]:
            raise SimstudyError(f"compare: found '{compare[0]}' twice; allowed: two different methods")
        silent = [name for name in compare if name in found.silent]
        if silent:
            raise SimstudyError(
                f"compare: {', '.join(silent)} has no estimate of '{found.parameter}' in cell {found.cell}"
            )
        return [compare]
    names = list(found.methods)
    if len(names) < 2:
        raise SimstudyError(f"compare: only {names[0]} has estimates of '{found.parameter}' in cell {found.cell}")
    reference = REFERENCE if REFERENCE in names else names[0]
    return [(name, reference) for name in names if name != reference]


def _differences(found: Replicates, pair: tuple[str, str], of: str) -> pd.DataFrame:
    """Both numbers of every replicate, their mean and difference, and the limits of agreement in every row."""
    first, second = (found.methods[name].set_index("rep")[of].astype(float) for name in pair)
    both = pd.DataFrame({"first": first, "second": second}).sort_index()
    both = both.loc[np.isfinite(both.to_numpy(dtype=np.float64)).all(axis=1)]
    difference = (both["first"] - both["second"]).to_numpy()
    n = len(both)
    mean = float(difference.mean()) if n else np.nan
    sd = float(difference.std(ddof=1)) if n > 1 else np.nan
    return pd.DataFrame(
        {
            "cell": found.cell,
            "parameter": found.parameter,
            "of": of,
            "method": pair[0],
            "reference": pair[1],
            "rep": both.index,
            "value": both["first"].to_numpy(),
            "reference_value": both["second"].to_numpy(),
            "mean": both.mean(axis=1).to_numpy(),
            "difference": difference,
            "mean_difference": mean,
            "mean_difference_mcse": sd / np.sqrt(n) if n > 1 else np.nan,
            "lower_limit": mean - Z_BAND * sd,
            "upper_limit": mean + Z_BAND * sd,
            "n": n,
        }
    )


def _draw(
    found: Replicates,
    drawn: dict[Pair, pd.DataFrame],
    counts: dict[Pair, int],
    title: str,
    of: str,
    empty: Sequence[str],
) -> Page:
    xlim, ylim = _limits(list(drawn.values()))
    outside = int(sum(len(r) - int(inside(r, xlim, ylim, "mean", "difference").sum()) for r in drawn.values()))
    few = sum(len(rows) < counts[pair] for pair, rows in drawn.items())
    n = sorted(counts.values())
    shared = f"{n[0]:,}" if n[0] == n[-1] else f"{n[0]:,} to {n[-1]:,}"
    notes = sentences(
        f"A point a replicate that both methods have ({shared}).",
        f"The first {MAX_POINTS:,} are drawn; lines are of all." if few else "",
        "Limits of agreement: mean difference ± 1.96 SD of the differences (Bland & Altman, 1986).",
        found.kind_note if of != OF["estimate"] else "",
        f"Crosses at the edge: beyond the axes ({outside:,})." if outside else "",
        found.silent_note,
        f"No replicate in common: {', '.join(empty)}." if empty else "",
        *(_identical(pair, rows) for pair, rows in drawn.items()),
    )
    words = Words(
        title,
        found.about,
        f"Mean of the two {of.lower()}s",
        "Difference (first − second)",
        panels=tuple(f"{a} − {b}" for a, b in drawn),
        notes=notes,
    )
    up = numeric_ticks(*ylim, 5)
    page = make_facets(words, _keys(), xlim, ylim, heights=HEIGHTS, smallest=1.15, up=up)
    styles = method_looks([*dict.fromkeys(name for pair in drawn for name in pair)])
    for axes, (pair, rows) in zip(page.axes, drawn.items(), strict=True):
        _draw_pair(axes, rows, styles[pair[0]])
    return page


def _limits(tables: Sequence[pd.DataFrame]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ends of both axes; rounding errors are no picture and do not fill a panel."""
    x, y = ([rows[name].to_numpy() for rows in tables] for name in ("mean", "difference"))
    xlim, ylim = central_limits(x), central_limits(y, [0.0])
    largest = max(np.abs(b).max() / max(np.abs(a).max(), 1e-300) for a, b in zip(x, y, strict=True))
    reach = 0.1 * (xlim[1] - xlim[0])
    return xlim, (-reach, reach) if largest <= ROUNDING else ylim


def _keys() -> list[Artist]:
    return [
        line_key("replicate", linestyle="", marker="o", markersize=3.0, color="0.45"),
        line_key("mean difference", color=INK, linewidth=1.2),
        patch_key("± 1.96 MCSE", facecolor="0.72"),
        line_key("limits of agreement", color=INK, linestyle=(0, (4, 1.5))),
        line_key("no difference", linestyle=":"),
    ]


def _identical(pair: tuple[str, str], rows: pd.DataFrame) -> str:
    """Say when two methods cannot be told apart."""
    largest = float(rows["difference"].abs().max())
    if largest == 0.0:
        return f"{pair[0]} and {pair[1]} are identical on every replicate."
    if largest <= ROUNDING * float(rows["mean"].abs().max()):
        return f"{pair[0]} and {pair[1]} agree to rounding (largest difference {largest:.1g})."
    return ""


def _draw_pair(axes: Axes, rows: pd.DataFrame, style: Look) -> None:
    here = inside(rows, axes.get_xlim(), axes.get_ylim(), "mean", "difference")
    x, y = rows["mean"].to_numpy(), rows["difference"].to_numpy()
    opacity = float(np.clip(120.0 / max(len(rows), 1), 0.25, 0.8))
    axes.plot(
        x[here], y[here], linestyle="", marker="o", markersize=2.2, mew=0, color=style.colour, alpha=opacity, zorder=2,
        label="replicates",
    )  # fmt: skip
    draw_outside(axes, x[~here], y[~here], style.colour)
    first = rows.iloc[0]
    mean, mcse = float(first["mean_difference"]), float(first["mean_difference_mcse"])
    axes.axhline(0.0, color="0.35", linewidth=0.9, linestyle=":", zorder=1)
    axes.axhline(mean, color=INK, linewidth=1.2, zorder=4)
    if np.isfinite(mcse):
        axes.axhspan(mean - Z_BAND * mcse, mean + Z_BAND * mcse, facecolor="0.3", alpha=0.22, linewidth=0, zorder=3)
    for limit in (float(first["lower_limit"]), float(first["upper_limit"])):
        if np.isfinite(limit):
            axes.axhline(limit, color=INK, linewidth=1.0, linestyle=(0, (4, 1.5)), zorder=4)

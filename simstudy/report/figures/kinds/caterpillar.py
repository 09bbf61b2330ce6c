"""Caterpillar plots: each cluster's own slope or intercept, ordered, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from simstudy.analysis.result import FitRecord
from simstudy.analysis.slopes import random_effects, random_means
from simstudy.errors import SimstudyError, did_you_mean
from simstudy.linalg.wald_intervals import quantile
from simstudy.methods.look import COLOURS
from simstudy.report.figures import FORMATS
from simstudy.report.figures.chart import write_figure
from simstudy.report.figures.style import styled
from simstudy.report.tables.performance import write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMED = 40
"""Up to so many clusters are named on the axis."""
WIDTH, HEIGHT = 9.0, 3.6
"""Inches of a panel."""
APART, ALIKE, EDGE = COLOURS[0], "#B0B0B0", "#5A5A5A"
"""Clusters whose interval leaves the mean out (dark also in grey print), the others, and their markers."""


def caterpillar_data(fit: FitRecord, names: str | Sequence[str] | None = None, level: float = 0.95) -> pd.DataFrame:
    """What `plot_caterpillar` draws.

    Parameters
    ----------
    fit : FitRecord
        Of a model with random slopes.
    names : str or sequence of str, optional
        Random slopes, random intercepts (variables of both blocks) or latent variables; by default all slopes.
    level : float
        Of the intervals: estimate +- z SE.

    Returns
    -------
    DataFrame
        A row a cluster and name, in the order of the plot: name, rank, cluster, estimate, se, lower, upper, mean (in
        the population of clusters, as estimated), apart (whether the interval leaves the mean out).

    Raises
    ------
    SimstudyError
        Unknown names; or the fit has no cluster-specific slopes.
    """
    if not 0.0 < level < 1.0:
        raise SimstudyError(f"level: found {level:g}; it must lie between 0 and 1")
    effects, means = random_effects(fit), random_means(fit)
    slopes = [slope.name for slope in fit.model.slopes]
    chosen = slopes if names is None else [names] if isinstance(names, str) else list(names)
    problems = [
        f"caterpillar plot: no random element '{name}'{did_you_mean(name, means)}; there are {', '.join(means)}"
        for name in chosen
        if name not in means
    ]
    if problems or not chosen:
        raise SimstudyError(problems or "caterpillar plot: no name is given")
    z = quantile(level)
    tables = []
    for name in chosen:
        table = pd.DataFrame({"cluster": effects.index, "estimate": effects[name], "se": effects[f"{name}_se"]})
        table = table.sort_values("estimate", kind="stable", ignore_index=True)
        table.insert(0, "name", name)
        table.insert(1, "rank", np.arange(1, len(table) + 1))
        table["lower"], table["upper"] = table["estimate"] - z * table["se"], table["estimate"] + z * table["se"]
        table["mean"] = means[name]
        table["apart"] = (table["lower"] > table["mean"]) | (table["upper"] < table["mean"])
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


@styled
def plot_caterpillar(fit: FitRecord, names: str | Sequence[str] | None = None, level: float = 0.95) -> Figure:
    """Draw each cluster's own slope (or intercept), ordered, with intervals and the mean; a panel a name.

    Estimates are empirical Bayes: shrunken to the mean, the more so the less a cluster says. Takes the arguments of
    `caterpillar_data`.

    Returns
    -------
    Figure
    """
    from matplotlib.figure import Figure

    data = caterpillar_data(fit, names, level)
    chosen = list(dict.fromkeys(data["name"]))
    figure = Figure(figsize=(WIDTH, 0.5 + HEIGHT * len(chosen)), layout="constrained")
    panels = figure.subplots(len(chosen), squeeze=False)[:, 0]
    slopes = {slope.name: f"slope of {slope.outcome} on {slope.predictor}" for slope in fit.model.slopes}
    for axes, name in zip(panels, chosen, strict=True):
        _panel(axes, data[data["name"] == name], level)
        axes.set_ylabel(f"{name}: {slopes[name]}" if name in slopes else f"{name}: level of the cluster")
    panels[-1].set_xlabel("Cluster, in order of its estimate")
    return figure


def _panel(axes: Axes, table: pd.DataFrame, level: float) -> None:
    n = len(table)
    share = 72.0 * (WIDTH - 1.0) / n  # points a cluster
    line = float(np.clip(0.35 * share, 0.5, 2.2))
    marker = float(np.clip(0.7 * share, 1.2, 6.0))
    for apart, colour in ((False, ALIKE), (True, APART)):
        mine = table[table["apart"] == apart]
        if mine.empty:
            continue
        says = "leaves the mean out" if apart else "contains the mean"
        axes.vlines(mine["rank"], mine["lower"], mine["upper"], colors=colour, linewidth=line, zorder=2)
        axes.plot(
            mine["rank"], mine["estimate"], linestyle="none", marker="o" if apart else "D", markersize=marker,
            markeredgecolor=colour if apart else EDGE, markerfacecolor=colour if apart else "white", zorder=3,
            markeredgewidth=0.8,
            label=f"{100 * level:g}% interval {says}: {len(mine)} of {n}",
        )  # fmt: skip
    mean = float(table["mean"].iloc[0])
    axes.axhline(
        mean,
        color="black",
        linewidth=1.2,
        zorder=4 if n > NAMED else 1,
        label=f"mean {mean:.2f}".replace("-0.00", "0.00"),
    )
    low, high = float(table["lower"].min()), float(table["upper"].max())
    if low <= 0.0 <= high:
        axes.axhline(0.0, color="black", linewidth=0.7, linestyle=(0, (1.2, 2.5)), zorder=1)
    axes.set_xlim(0.0, n + 1.0)
    if n <= NAMED:
        names = [str(name) for name in table["cluster"]]
        turned = 90.0 if max(map(len, names)) > 2 else 0.0
        axes.set_xticks(table["rank"], names, rotation=turned, fontsize=8)
    axes.legend(loc="upper left", frameon=False, fontsize=8, markerscale=max(1.0, 4.0 / marker))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(low - 0.03 * (high - low), high + 0.25 * (high - low))  # room for the legend


def save_caterpillar(fit: FitRecord, path: str | Path, names: str | Sequence[str] | None = None) -> tuple[Path, Path]:
    """Write the plot to a .png, .pdf or .svg file, and its data to a .csv file beside it."""
    path = Path(path)
    check_format(path)
    figure, data = plot_caterpillar(fit, names), caterpillar_data(fit, names)
    return write_figure(figure, path), write_csv(data, path.with_suffix(".csv"))


def check_format(path: Path) -> None:
    """Raise a `SimstudyError` unless a figure can be written to a file of this name."""
    if path.suffix.lower().removeprefix(".") not in FORMATS:
        allowed = [f".{name}" for name in FORMATS]
        hint = did_you_mean(path.suffix.lower(), allowed)
        raise SimstudyError(f"found '{path}'; a figure is written as {', '.join(allowed)}{hint}")

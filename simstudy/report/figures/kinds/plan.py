"""Figures of a plan: the measure against the sample size with its band, and the map over number and size of clusters.

Everything is told apart by form as well as colour: the analytic curve is dashed, the fitted one solid, simulated points
are open and the confirming run is a filled square. The map's colours rise in lightness (cividis), so that it reads in
grey and for the colour-blind, and its levels are drawn and labelled as lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from simstudy.methods.look import COLOURS
from simstudy.planning.criterion import MEASURES
from simstudy.planning.result import PlanRecord
from simstudy.report.figures.style import KEY, LABEL, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Z = 1.959963984540054
FITTED, ANALYTIC, GREY = COLOURS[0], COLOURS[1], "0.35"
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
COST_LINES = 6


@styled
def plot_plan(plan: PlanRecord) -> tuple[Figure, pd.DataFrame]:
    """Draw the measure against what was searched.

    Returns
    -------
    Figure
    DataFrame
        What is drawn: kind (``curve``, ``search``, ``confirm``), size, analytic, value, low, high, data_sets.
    """
    from matplotlib.figure import Figure

    request = plan.request
    measure = MEASURES[request["measure"]]
    axis = "cluster_size" if request["over"] == "cluster_size" else "n_clusters"
    data = _curve_data(plan, axis)
    figure = Figure(figsize=(6.2, 4.3), layout="constrained")
    axes = figure.subplots()
    _draw_curves(axes, data[data["kind"] == "curve"])
    _draw_points(axes, data)
    target = (request["target"], -request["target"]) if measure.kind == "within" else (request["target"],)
    for k, value in enumerate(target):
        axes.axhline(
            value, color="0.15", linewidth=0.9, linestyle=(0, (1, 1.5)), label=None if k else f"target {value:g}"
        )
    _draw_answer(axes, plan, axis)
    letter = "J" if axis == "n_clusters" else "n"
    axes.set_xlabel(f"{'Number of clusters' if letter == 'J' else 'Cluster size'} ({letter})", fontsize=LABEL)
    axes.set_ylabel(measure.words.capitalize(), fontsize=LABEL)
    axes.set_title(_title(plan), fontsize=LABEL + 1)
    axes.grid(axis="y", color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=KEY)
    if measure.is_rate:
        low = float(data[["value", "low", "analytic"]].min().min())
        axes.set_ylim(max(0.0, low - 0.03), min(1.02, max(1.0, request["target"]) + 0.02))
    axes.legend(fontsize=KEY, frameon=False, loc="best")
    return figure, data


def _curve_data(plan: PlanRecord, axis: str) -> pd.DataFrame:
    curve = plan.curve
    tables = [
        pd.DataFrame(
            {"kind": "curve", "size": curve[axis], "analytic": curve["analytic"], "value": curve["fitted"],
             "low": curve["fitted_low"], "high": curve["fitted_high"]}
        )
    ]  # fmt: skip
    found = plan.evaluations
    if len(found):
        points = pd.DataFrame({"kind": found["role"], "size": found[axis], "value": found["value"]})
        points["low"], points["high"] = found["value"] - Z * found["mcse"], found["value"] + Z * found["mcse"]
        points["data_sets"] = found["attempted"]
        tables.append(points)
    return pd.concat(tables, ignore_index=True)


def _draw_curves(axes: Axes, curve: pd.DataFrame) -> None:
    x = curve["size"].to_numpy(dtype=np.float64)
    if curve["value"].notna().any():
        low, high = (curve[name].to_numpy(dtype=np.float64) for name in ("low", "high"))
        axes.fill_between(x, low, high, color=FITTED, alpha=0.2, linewidth=0, label="95% band of the curve")
        axes.plot(
            x, curve["value"].to_numpy(dtype=np.float64), color=FITTED, linewidth=1.6, label="fitted to simulations"
        )
    if curve["analytic"].notna().any():
        y = curve["analytic"].to_numpy(dtype=np.float64)
        axes.plot(x, y, color=ANALYTIC, linewidth=1.4, linestyle=(0, (5, 2)), label="analytic (large J)")


def _draw_points(axes: Axes, data: pd.DataFrame) -> None:
    for kind, marker, fill, colour, label in (
        ("search", "o", "white", FITTED, "simulated, 95% interval"),
        ("confirm", "s", "black", "black", "confirming run"),
    ):
        rows = data[(data["kind"] == kind) & data["value"].notna()]
        if rows.empty:
            continue
        x, y = rows["size"].to_numpy(dtype=np.float64), rows["value"].to_numpy(dtype=np.float64)
        half = rows["high"].to_numpy(dtype=np.float64) - y
        axes.errorbar(
            x, y, yerr=half, fmt=marker, color=colour, markerfacecolor=fill, markersize=4.5, linewidth=0.9, label=label,
            zorder=5 if kind == "search" else 6,
        )  # fmt: skip


def _draw_answer(axes: Axes, plan: PlanRecord, axis: str) -> None:
    answer = plan.answer
    if answer is None:
        return
    at = answer.n_clusters if axis == "n_clusters" else int(answer.cluster_size)
    if answer.low is not None and answer.high is not None:
        axes.axvspan(
            answer.low - 0.5, answer.high + 0.5, color="0.85", zorder=0, linewidth=0, label="95% interval of the answer"
        )
    letter = "J" if axis == "n_clusters" else "n"
    axes.axvline(at, color=GREY, linewidth=0.9, zorder=1)
    axes.annotate(
        f"{letter} = {at:,}", (at, 0.02), xycoords=("data", "axes fraction"), xytext=(4, 0), textcoords="offset points",
        fontsize=LABEL, color="black",
    )  # fmt: skip


def _title(plan: PlanRecord) -> str:
    request = plan.request
    measure = MEASURES[request["measure"]].words
    what = "Assurance" if request["uncertain"] and measure == "power" else measure.capitalize()
    where = f"clusters of {request['cluster_size']}"
    if request["over"] == "cluster_size":
        where = f"{request['n_clusters']:,} clusters"
    elif request["over"] == "both" and plan.answer is not None:
        where = f"clusters of {plan.answer.cluster_size}"
    return f"{what} of {request['parameter']} ({request['name']}, {request['method']}, {where})"


@styled
def plot_plan_map(plan: PlanRecord) -> tuple[Figure, pd.DataFrame]:
    """Draw the analytic measure over number and size of clusters, with lines of equal measure and of equal cost.

    Returns
    -------
    Figure
    DataFrame
        The grid: n_clusters, cluster_size, value, cost.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

    request, grid = plan.request, plan.grid
    measure = MEASURES[request["measure"]]
    wide = grid.pivot(index="cluster_size", columns="n_clusters", values="value")
    x, y, values = wide.columns.to_numpy(float), wide.index.to_numpy(float), wide.to_numpy(float)
    figure = Figure(figsize=(6.2, 4.6), layout="constrained")
    axes = figure.subplots()
    low, high = (0.0, 1.0) if measure.is_rate else (None, None)
    mesh = axes.pcolormesh(x, y, values, cmap="cividis", shading="gouraud", rasterized=True, vmin=low, vmax=high)
    bar = figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.set_label(f"{measure.words.capitalize()} (analytic)", fontsize=LABEL)
    bar.ax.tick_params(labelsize=KEY)
    _value_lines(axes, x, y, values, request["target"], rate=measure.is_rate)
    if grid["cost"].notna().any():
        _cost_lines(
            axes, x, y, grid.pivot(index="cluster_size", columns="n_clusters", values="cost").to_numpy(float), plan
        )
    if plan.answer is not None:
        at = (plan.answer.n_clusters, float(plan.answer.cluster_size))
        axes.plot(*at, marker="*", markersize=15, color="white", markeredgecolor="black", zorder=6, clip_on=False)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for one, ticks in ((axes.xaxis, _ticks(x)), (axes.yaxis, _ticks(y))):
        one.set_ticks(ticks)
        one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        one.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=KEY)
    axes.set_xlim(x.min(), x.max())
    axes.set_ylim(y.min(), y.max())
    axes.set_xlabel("Number of clusters (J)", fontsize=LABEL)
    axes.set_ylabel("Cluster size (n)", fontsize=LABEL)
    axes.set_title(
        f"{measure.words.capitalize()} of {request['parameter']} ({request['name']}, {request['method']})",
        fontsize=LABEL + 1,
    )
    figure.supxlabel(_map_key(plan), fontsize=KEY)
    return figure, grid


def _value_lines(axes: Axes, x: Any, y: Any, values: Any, target: float, *, rate: bool) -> None:
    """Lines of equal measure; the target's is the thickest."""
    from matplotlib.patheffects import withStroke

    found = np.asarray(values)
    others = LEVELS if rate else np.quantile(found[np.isfinite(found)], [0.1, 0.3, 0.5, 0.7, 0.9])
    low, high = np.nanmin(found), np.nanmax(found)
    rounded = {float(f"{float(value):.3g}") for value in others} | {target}
    levels = sorted(value for value in rounded if low < value < high)
    for some, width in (([v for v in levels if not math.isclose(v, target)], 0.8), ([target], 2.2)):
        shown = [level for level in some if level in levels]
        if not shown:
            continue
        lines = axes.contour(x, y, found, levels=shown, colors="white", linewidths=width, zorder=3)
        lines.set_path_effects([withStroke(linewidth=width + 1.2, foreground="black")])
        spots = _spots(x, y, found, shown, row=-3)
        for text in axes.clabel(lines, fmt=lambda value: f"{value:g}", fontsize=KEY, inline=True, manual=spots):
            text.set_path_effects([withStroke(linewidth=2.0, foreground="black")])


def _cost_lines(axes: Axes, x: Any, y: Any, cost: Any, plan: PlanRecord) -> None:
    """Lines of equal cost, through that of the answer."""
    from matplotlib.patheffects import withStroke

    price = plan.answer.cost if plan.answer is not None else float(np.nanmedian(cost))
    levels = [price * 1.5**k for k in range(-COST_LINES // 2, COST_LINES // 2 + 1)]
    levels = sorted(level for level in levels if np.nanmin(cost) < level < np.nanmax(cost))
    if not levels:
        return
    lines = axes.contour(x, y, cost, levels=levels, colors="black", linewidths=1.0, linestyles="dashed", zorder=2)
    spots = _spots(x, y, cost, levels, row=2)
    for text in axes.clabel(lines, fmt=_price, fontsize=KEY, inline=False, manual=spots):
        text.set_path_effects([withStroke(linewidth=2.0, foreground="white")])


def _price(value: float) -> str:
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _spots(x: Any, y: Any, values: Any, levels: Sequence[float], row: int) -> list[tuple[float, float]]:
    """Where the lines of some levels get their labels: where they cross a row, or else a column near the right."""
    found = []
    for level in levels:
        across = np.asarray(values)[row]
        if across.min() < level < across.max():
            found.append((float(np.interp(level, across, x)), float(y[row])))
            continue
        up = np.asarray(values)[:, -2]
        if up.min() < level < up.max():
            found.append((float(x[-2]), float(np.interp(level, up, y))))
    return found


def _map_key(plan: PlanRecord) -> str:
    words = MEASURES[plan.request["measure"]].words
    parts = [f"solid: equal {words} (thick: {plan.request['target']:g})"]
    if plan.grid["cost"].notna().any():
        parts.append(f"dashed: equal cost ({plan.request['cost']})")
    if plan.answer is not None:
        parts.append(f"star: J = {plan.answer.n_clusters:,}, n = {plan.answer.cluster_size}")
    return "; ".join(parts)


def _ticks(values: Any) -> list[float]:
    """Round numbers on a logarithmic axis."""
    low, high = float(np.min(values)), float(np.max(values))
    steps = [m * 10.0**k for k in range(6) for m in (1, 2, 3, 5, 7)]
    found = [step for step in steps if low <= step <= high]
    return found if len(found) <= 9 else [step for step in found if str(step)[0] in "125"]

"""Path diagram of a fit: one panel a level, squares for what is observed, ellipses for what is latent."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from simstudy.analysis.result import FitRecord
from simstudy.errors import SimstudyError, did_you_mean
from simstudy.model.parameters import Parameter
from simstudy.report.figures.chart import write_figure
from simstudy.report.figures.diagram.layout import NAME_SIZE, Node, place_nodes
from simstudy.report.figures.diagram.routes import NUMBER_SIZE, SMALL_SIZE, Arrow, Box, Route, route_arrows
from simstudy.report.tables.text import NOT_AVAILABLE, fixed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = ("estimates", "names")
FORMATS = ("svg", "png", "pdf")
MARGIN, TITLE, NOTE = 0.22, 0.34, 0.155
"""Inches: around a panel, for its title, and for a line of the notes."""
MIN_WIDTH = 5.2
DOT = 0.8
"""Part of the way at which the dot of a random slope sits, as in Mplus's diagrams near the head."""
INK, GREY, PALE = "0.10", "0.42", "0.55"
LINES: dict[str, tuple[float, tuple[float, float]]] = {"dashed": (0.0, (4.0, 2.2)), "unknown": (0.0, (1.0, 2.0))}
FILL = {"observed": "white", "part": "white", "factor": "0.93"}
FACTORS = " Shaded ellipses: factors."
LEVELS = (("between", "Between clusters (level 2)"), ("within", "Within clusters (level 1)"))


def path_diagram(fit: FitRecord, *, labels: Literal["estimates", "names"] = "estimates", decimals: int = 2) -> Figure:
    """Draw the model of a fit, a panel a level.

    Squares are observed variables, ellipses are factors, circles of the between panel are latent between parts of
    level-1 variables. Dashed arrows: the interval includes 0. Short arrows: (residual) variances.

    Parameters
    ----------
    fit : FitRecord
    labels : str
        ``estimates`` (with standard errors) or ``names`` (the model's labels).
    decimals : int
        Of the numbers.

    Returns
    -------
    Figure
        `save_diagram` writes it.

    Raises
    ------
    SimstudyError
        If there are no such labels.
    """
    from matplotlib.figure import Figure

    if labels not in LABELS:
        raise SimstudyError(f"labels: found '{labels}'; allowed: {', '.join(LABELS)}{did_you_mean(labels, LABELS)}")
    panels = []
    for level, title in LEVELS:
        nodes = place_nodes(fit.model, level)
        routes = route_arrows(nodes, _arrows(fit, level, labels, decimals))
        panels.append((title, nodes, routes, _extent(nodes, routes)))
    boxes = [box for *_, box in panels]
    widths, heights = [b.right - b.left for b in boxes], [b.top - b.bottom + TITLE for b in boxes]
    beside = sum(heights) > 1.1 * sum(widths) or sum(heights) > 9.5
    if beside:
        panels, widths, heights = panels[::-1], widths[::-1], heights[::-1]
    width = max(sum(widths) if beside else max(widths), MIN_WIDTH)
    notes = [line for note in _notes(fit, labels) for line in textwrap.wrap(note, int((width - 2 * MARGIN) / 0.052))]
    foot = NOTE * len(notes) + 0.12
    height = (max(heights) if beside else sum(heights)) + foot
    figure = Figure(figsize=(width, height))
    left, top = (width - sum(widths)) / 2.0 if beside else 0.0, height
    for (title, nodes, routes, box), w, h in zip(panels, widths, heights, strict=True):
        x = left if beside else (width - w) / 2.0
        y = top - TITLE - (h - TITLE)
        axes = figure.add_axes((x / width, y / height, w / width, (h - TITLE) / height))
        axes.set_xlim(box.left, box.right)
        axes.set_ylim(box.bottom, box.top)
        axes.set_axis_off()
        _draw(axes, nodes, routes, set(fit.model.both) if title == LEVELS[1][1] else set())
        figure.text(
            (MARGIN + (x if beside else 0.0)) / width,
            (top - 0.16) / height,
            title,
            fontsize=10.5,
            weight="bold",
            va="top",
        )
        if beside:
            left += w
        else:
            top -= h
    for k, note in enumerate(reversed(notes)):
        figure.text(MARGIN / width, (0.09 + NOTE * k) / height, note, fontsize=SMALL_SIZE, color=GREY, va="bottom")
    return figure


def save_diagram(figure: Figure, path: str | Path) -> Path:
    """Write a diagram as SVG, PNG or PDF, by the suffix; the same figure gives the same bytes.

    Raises
    ------
    SimstudyError
        If the suffix is another one.
    """
    target = Path(path)
    suffix = target.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise SimstudyError(
            f"{target}: a diagram cannot be written as '{target.suffix}'; allowed: "
            f"{', '.join('.' + name for name in FORMATS)}{did_you_mean(suffix, FORMATS)}"
        )
    return write_figure(figure, target, settings={"svg.fonttype": "none"})


# ---------------------------------------------------------------------- what is drawn


def _arrows(fit: FitRecord, level: str, labels: str, decimals: int) -> list[Arrow]:
    """Paths, covariances and variances of a level with their texts."""
    table = fit.parameters
    keys = zip(table["lhs"], table["op"], table["rhs"], table["level"], strict=True)
    values = zip(table["est"], table["se"], table["ci_lower"], table["ci_upper"], strict=True)
    found = {
        (str(lhs), str(op), str(rhs)): tuple(map(float, numbers))
        for (lhs, op, rhs, where), numbers in zip(keys, values, strict=True)
        if where == level
    }
    arrows = []
    for row in fit.model.table.at(level):
        if row.op == "~1":
            continue
        est, se, low, high = found.get((row.lhs, row.op, row.rhs), (np.nan,) * 4)
        own = row.op == "~~" and row.lhs == row.rhs
        if row.free < 0 and row.op == "~~" and row.value == 0.0:
            continue
        if row.slope:
            text = row.slope
        else:
            text = _text(row, est, np.nan if own else se, decimals) if labels == "estimates" else _name(row, decimals)
        if own and not text:
            continue
        source, target = (row.rhs, row.lhs) if row.op == "~" else (row.lhs, row.rhs)
        arrows.append(Arrow(source, target, row.op == "~~", text, _look(row, est, low, high, labels)))
    return arrows


def _text(row: Parameter, est: float, se: float, decimals: int) -> str:
    if np.isnan(est):
        return NOT_AVAILABLE
    if row.free < 0:
        return f"{est:g}"
    if not np.isnan(se):
        return f"{fixed(est, decimals)} ({fixed(se, decimals)})"
    text = fixed(est, decimals)  # of a variance: a small one, negative perhaps, must not look like zero
    return f"{est:.1g}" if float(text) == 0.0 and abs(est) > 1e-8 else text


def _name(row: Parameter, decimals: int) -> str:
    return row.label or (f"{row.value:g}" if row.free < 0 else "")


def _look(row: Parameter, est: float, low: float, high: float, labels: str) -> str:
    if row.slope:
        return "random"
    if row.free < 0:
        return "fixed"
    if labels == "names":
        return "solid"
    if np.isnan(est):
        return "unknown"
    return "dashed" if low <= 0.0 <= high else "solid"


def _notes(fit: FitRecord, labels: str) -> list[str]:
    """What the shapes mean, and what must be known of the fit."""
    level = 100 * float(fit.options.get("ci_level", 0.95))
    notes = [
        f"{fit.estimator}: {fit.n_obs:,} observations in {fit.n_clusters:,} clusters."
        + ("" if fit.converged else f" DID NOT CONVERGE: {fit.status.message}.")
        + (f" NOT ADMISSIBLE: {'; '.join(fit.improper)}." if fit.improper else "")
    ]
    shapes = "Squares: observed variables."
    if any(fit.model.latents(level) for level, _ in LEVELS):
        shapes += " Shaded ellipses: factors, and slopes that vary over clusters." if fit.model.slopes else FACTORS
    if fit.model.both:
        shapes += " Squares with a dot have a latent between part, the circle of the same name in the between panel."
    if fit.model.slopes:
        shapes += " A dot on an arrow: such a slope, with its name."
    notes.append(shapes)
    if labels == "estimates":
        notes.append(
            f"Estimates with standard errors; dashed: the {level:g}% interval includes 0; grey lines: fixed. Numbers "
            "at short arrows: variances, of residuals where other arrows point to the variable."
        )
    return notes


# ---------------------------------------------------------------------- drawing


def _extent(nodes: dict[str, Node], routes: Sequence[Route]) -> Box:
    """What a panel needs, with a margin."""
    boxes = [Box.around((n.x, n.y), n.width, n.height) for n in nodes.values()]
    boxes += [route.box() for route in routes]
    points = [point for route in routes for point in route.points()]
    return Box(
        min([b.left for b in boxes] + [x for x, _ in points]) - MARGIN,
        min([b.bottom for b in boxes] + [y for _, y in points]) - MARGIN,
        max([b.right for b in boxes] + [x for x, _ in points]) + MARGIN,
        max([b.top for b in boxes] + [y for _, y in points]) + MARGIN,
    )


def _draw(axes: Axes, nodes: dict[str, Node], routes: Sequence[Route], dotted: set[str]) -> None:
    from matplotlib.patches import Ellipse, FancyArrowPatch, Rectangle
    from matplotlib.path import Path as Course

    for route in routes:
        own = route.arrow.source == route.arrow.target
        colour = {"solid": INK, "random": INK, "dashed": GREY, "fixed": PALE, "unknown": PALE}[route.arrow.look]
        course = Course([route.start, route.control, route.end], [Course.MOVETO, Course.CURVE3, Course.CURVE3])
        axes.add_patch(
            FancyArrowPatch(
                path=course,
                arrowstyle="<|-|>" if route.arrow.double and not own else "-|>",
                mutation_scale=6.5 if own else 9.0,
                linewidth=0.7 if own else 1.1,
                linestyle="-" if own else LINES.get(route.arrow.look, "-"),
                color=GREY if own else colour,
                shrinkA=0.0,
                shrinkB=0.0,
                joinstyle="miter",
                zorder=1,
            )
        )
        if route.arrow.look == "random":
            axes.plot(*route.point(DOT), marker="o", markersize=4.5, color=INK, zorder=2)
        if route.arrow.text:
            axes.text(
                *route.at,
                route.arrow.text,
                fontsize=SMALL_SIZE if own else NUMBER_SIZE,
                color=GREY if own or route.arrow.look not in ("solid", "random") else INK,
                ha="center",
                va="center_baseline",
                zorder=3,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )
    for node in nodes.values():
        shape = (
            Rectangle((node.x - node.width / 2.0, node.y - node.height / 2.0), node.width, node.height)
            if node.kind == "observed"
            else Ellipse((node.x, node.y), node.width, node.height)
        )
        shape.set(facecolor=FILL[node.kind], edgecolor=INK, linewidth=1.1, zorder=4)
        axes.add_patch(shape)
        axes.text(node.x, node.y, node.name, fontsize=NAME_SIZE, color=INK, ha="center", va="center", zorder=5)
        if node.kind == "observed" and node.name in dotted:
            axes.plot(
                node.x + node.width / 2.0 - 0.06,
                node.y + node.height / 2.0 - 0.06,
                marker="o",
                markersize=3.0,
                color=INK,
                zorder=5,
            )

"""Where the variables of a path diagram stand: causes on the left, outcomes on the right, indicators beside factors.

All lengths are inches. Variables are put into layers by the longest chain of paths that leads to them; a path that
skips a layer takes a place of its own there, so that a direct effect passes by the mediator; the order in each layer is
improved by swaps until paths cross as little as they can, and pass through no variable (Sugiyama, Tagawa & Toda 1981).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simstudy.model.twolevel import TwoLevelModel
from simstudy.report.figures.style import text_width

Point = tuple[float, float]

NODE_HEIGHT = 0.40
LAYER_GAP = 1.55
"""Between the edges of variables of neighbouring layers: room for an estimate with its standard error."""
SLOT, PASSAGE, WIDE_PASSAGE, INDICATOR = 1.15, 0.75, 1.5, 0.62
"""Heights of the places of a variable, of a path that passes (several, or one variable), and of an indicator."""
NAME_SIZE = 9.0
MAX_ROUNDS = 12


@dataclass(frozen=True)
class Node:
    """A variable in a panel.

    Attributes
    ----------
    name : str
    kind : str
        ``observed`` (square), ``part`` (circle: latent between part), ``factor`` (ellipse).
    x, y : float
        Its middle.
    width, height : float
    outside : tuple of float
        Direction (x, y) that leads away from the other variables, for its residual.
    """

    name: str
    kind: str
    x: float
    y: float
    width: float
    height: float
    outside: Point


def place_nodes(model: TwoLevelModel, level: str) -> dict[str, Node]:
    """Variables of a level and their places."""
    rows = model.table.at(level)
    factors = model.latents(level)
    names = [*factors, *model.observed(level)]
    width = max(0.62, max(text_width(name, NAME_SIZE) for name in names) + 0.30)
    owner = _owners([(row.lhs, row.rhs) for row in rows if row.op == "=~"], factors)
    structural = [name for name in names if name not in owner]
    arrows = [(row.rhs, row.lhs) for row in rows if row.op == "~"]
    arrows += [(row.lhs, row.rhs) for row in rows if row.op == "=~" and row.rhs in factors]
    links = [(a, b) for a, b in dict.fromkeys(arrows) if a in structural and b in structural and a != b]
    layer = _layers(structural, links)
    depth = max(layer.values(), default=0)
    own = {name: [k for k, factor in owner.items() if factor == name] for name in factors}
    side = {name: _side(layer[name], depth) for name in factors if name in layer}
    demand = {
        name: max(SLOT, INDICATOR * len(own[name]) + 0.15) if side.get(name) in ("left", "right") else SLOT
        for name in structural
    }
    step = width + LAYER_GAP
    points = _positions(structural, links, layer, demand, step)
    outside = {name: _away(layer[name], depth, points[name][1]) for name in structural}
    points, outside = _add_indicators(points, outside, own, side, width, step)
    kinds = {name: "factor" if name in factors else "observed" for name in names}
    if level == "between":
        kinds |= dict.fromkeys(model.both, "part")
    tall = {"observed": NODE_HEIGHT, "part": NODE_HEIGHT + 0.06, "factor": NODE_HEIGHT + 0.14}
    wide = {"observed": 1.0, "part": 1.06, "factor": 1.18}
    return {
        name: Node(name, kind, *points[name], width * wide[kind], tall[kind], outside[name])
        for name, kind in kinds.items()
    }


def _owners(loadings: Sequence[tuple[str, str]], factors: Sequence[str]) -> dict[str, str]:
    """First factor of every observed indicator."""
    found: dict[str, str] = {}
    for factor, indicator in loadings:
        if indicator not in factors:
            found.setdefault(indicator, factor)
    return found


def _side(layer: int, depth: int) -> str:
    """Where a factor's indicators stand."""
    if layer == depth:
        return "right"
    return "left" if layer == 0 else "outer"


def _away(layer: int, depth: int, y: float) -> Point:
    if 0 < layer < depth:
        return (0.0, 1.0 if y >= -1e-9 else -1.0)
    return (1.0, 0.0) if layer == depth and depth > 0 else (-1.0, 0.0)


def _layers(names: Sequence[str], links: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Length of the longest chain of paths to each variable; a path that closes a circle does not count."""
    causes: dict[str, list[str]] = {name: [] for name in names}
    for cause, effect in links:
        causes[effect].append(cause)
    found: dict[str, int] = {}
    open_: set[str] = set()

    def visit(name: str) -> int:
        if name not in found:
            open_.add(name)
            found[name] = max((visit(cause) + 1 for cause in causes[name] if cause not in open_), default=0)
            open_.discard(name)
        return found[name]

    for name in names:
        visit(name)
    return {name: found[name] for name in names}


# ---------------------------------------------------------------------- order within layers


def _positions(
    names: Sequence[str],
    links: Sequence[tuple[str, str]],
    layer: Mapping[str, int],
    demand: Mapping[str, float],
    step: float,
) -> dict[str, Point]:
    """Places of the structural variables."""
    depth = max(layer.values(), default=0)
    columns: list[list[str]] = [[name for name in names if layer[name] == k] for k in range(depth + 1)]
    heights = dict(demand)
    for cause, effect in links:
        for k in range(layer[cause] + 1, layer[effect]):
            passage = f"{cause}>{effect}@{k}"
            if sum(name.endswith(f"@{k}") for name in columns[k]) < max(1, len(columns[k]) // 2):
                columns[k].append(passage)
                heights[passage] = PASSAGE if len(columns[k]) > 2 else WIDE_PASSAGE

    def places(order: Sequence[Sequence[str]]) -> dict[str, Point]:
        found: dict[str, Point] = {}
        for k, column in enumerate(order):
            top = sum(heights[name] for name in column) / 2.0
            for name in column:
                found[name] = (k * step, top - heights[name] / 2.0)
                top -= heights[name]
        return found

    def cost(order: Sequence[Sequence[str]]) -> float:
        return _cost(places(order), links, names)

    best, lowest = columns, cost(columns)
    for _ in range(MAX_ROUNDS):
        improved = False
        for k, column in enumerate(best):
            for i, j in itertools.combinations(range(len(column)), 2):
                swapped = list(column)
                swapped[i], swapped[j] = swapped[j], swapped[i]
                trial = [*best[:k], swapped, *best[k + 1 :]]
                value = cost(trial)
                if value < lowest - 1e-9:
                    best, lowest, improved = trial, value, True
                    column = swapped
        if not improved:
            break
    points = places(best)
    return {name: points[name] for name in names}


def _cost(points: Mapping[str, Point], links: Sequence[tuple[str, str]], names: Sequence[str]) -> float:
    """Paths through variables, crossings, length, and departures from the order of the model text."""
    total = 0.0
    for cause, effect in links:
        start, end = points[cause], points[effect]
        total += 0.1 * abs(start[1] - end[1])
        total += sum(100.0 for name in names if name not in (cause, effect) and _passes(start, end, points[name]))
    for (a, b), (c, d) in itertools.combinations(links, 2):
        if len({a, b, c, d}) == 4 and crosses(points[a], points[b], points[c], points[d]):
            total += 10.0
    for upper, lower in itertools.combinations(names, 2):
        (x1, y1), (x2, y2) = points[upper], points[lower]
        total += 0.01 * (x1 == x2 and y1 < y2)
    return total


def _passes(a: Point, b: Point, middle: Point) -> bool:
    """Whether the line from a to b comes too close to a variable between them."""
    low, high = min(a[0], b[0]), max(a[0], b[0])
    if not low < middle[0] < high:
        return low == high == middle[0] and min(a[1], b[1]) < middle[1] < max(a[1], b[1])
    y = a[1] + (b[1] - a[1]) * (middle[0] - a[0]) / (b[0] - a[0])
    return abs(y - middle[1]) < NODE_HEIGHT


def crosses(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the segments a-b and c-d cross."""

    def turn(p: Point, q: Point, r: Point) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return turn(a, b, c) * turn(a, b, d) < 0.0 and turn(c, d, a) * turn(c, d, b) < 0.0


# ---------------------------------------------------------------------- indicators


def _add_indicators(
    points: dict[str, Point],
    outside: dict[str, Point],
    own: Mapping[str, Sequence[str]],
    side: Mapping[str, str],
    width: float,
    step: float,
) -> tuple[dict[str, Point], dict[str, Point]]:
    """Columns of indicators left and right of the structural part, rows above and below it."""
    points, outside = dict(points), dict(outside)
    right = max((x for x, _ in points.values()), default=0.0) + step
    top = max((y for _, y in points.values()), default=0.0) + 1.15
    bottom = min((y for _, y in points.values()), default=0.0) - 1.15
    last = {top: -1e9, bottom: -1e9}
    for factor, where in side.items():
        count = len(own[factor])
        x, y = points[factor]
        if where in ("left", "right"):
            outside[factor] = (0.0, 1.0)
            for k, name in enumerate(own[factor]):
                points[name] = (-step if where == "left" else right, y + INDICATOR * ((count - 1) / 2.0 - k))
                outside[name] = (-1.0, 0.0) if where == "left" else (1.0, 0.0)
            continue
        row = top if y >= -1e-9 else bottom
        start = max(x - (width + 0.22) * (count - 1) / 2.0, last[row] + width + 0.3)
        for k, name in enumerate(own[factor]):
            points[name] = (start + (width + 0.22) * k, row)
            outside[name] = (0.0, 1.0 if row == top else -1.0)
            last[row] = points[name][0]
        outside[factor] = (0.0, -1.0 if row == top else 1.0)
    return points, outside

"""How the arrows of a path diagram run, and where their numbers stand so that none covers another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from simstudy.report.figures.diagram.layout import Node, Point, crosses
from simstudy.report.figures.style import text_width

NUMBER_SIZE, SMALL_SIZE = 8.0, 7.0
STUB = 0.26
"""Length of the arrow of a residual."""
BENDS = (0.0, 0.35, -0.35, 0.7, -0.7, 1.1, -1.1)
BULGES = tuple(sign * depth for depth in (0.45, 0.8, 1.2, 1.6, 2.0, 2.4, 2.9, 3.4, 4.0) for sign in (1.0, -1.0))
STATIONS = (0.5, 0.42, 0.58, 0.34, 0.66, 0.27, 0.73, 0.8, 0.2)
"""Parts of the way at which a number may stand."""


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def around(cls, point: Point, width: float, height: float) -> Box:
        """Box with a given middle."""
        return cls(point[0] - width / 2.0, point[1] - height / 2.0, point[0] + width / 2.0, point[1] + height / 2.0)

    def overlaps(self, other: Box) -> bool:
        """Whether the two have an area in common."""
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def holds(self, point: Point) -> bool:
        """Whether a point lies inside."""
        return self.left < point[0] < self.right and self.bottom < point[1] < self.top


@dataclass(frozen=True)
class Arrow:
    """What is to be drawn of a parameter.

    Attributes
    ----------
    source, target : str
        Variables; the same one for a variance.
    double : bool
        Whether it has two heads: a covariance.
    text : str
        Its number or name.
    look : str
        ``solid``, ``dashed`` (interval includes 0), ``fixed``, ``unknown``, or ``random`` (a slope that varies).
    """

    source: str
    target: str
    double: bool
    text: str
    look: str


@dataclass(frozen=True)
class Route:
    """An arrow with its course: a quadratic Bezier curve from start to end, and the middle of its text."""

    arrow: Arrow
    start: Point
    control: Point
    end: Point
    at: Point

    def points(self, count: int = 24) -> list[Point]:
        """Points along the curve."""
        return [self.point(k / count) for k in range(count + 1)]

    def point(self, t: float) -> Point:
        """Point at a part of the way."""
        a, b, c = (1.0 - t) ** 2, 2.0 * t * (1.0 - t), t**2
        return (
            a * self.start[0] + b * self.control[0] + c * self.end[0],
            a * self.start[1] + b * self.control[1] + c * self.end[1],
        )

    def box(self) -> Box:
        """Box of its text."""
        size = SMALL_SIZE if self.arrow.source == self.arrow.target else NUMBER_SIZE
        return Box.around(self.at, text_width(self.arrow.text, size) + 0.07, size / 72.0 + 0.05)


def border(node: Node, towards: Point) -> Point:
    """Point of a variable's outline in the direction of another point."""
    dx, dy = towards[0] - node.x, towards[1] - node.y
    if dx == dy == 0.0:
        return node.x, node.y
    half_width, half_height = node.width / 2.0, node.height / 2.0
    if node.kind == "observed":
        scale = min(half_width / abs(dx) if dx else math.inf, half_height / abs(dy) if dy else math.inf)
    else:
        scale = 1.0 / math.hypot(dx / half_width, dy / half_height)
    return node.x + scale * dx, node.y + scale * dy


def route_arrows(nodes: Mapping[str, Node], arrows: Sequence[Arrow]) -> list[Route]:
    """Courses of all arrows and places of their texts: paths first, then covariances, residuals last."""
    boxes = {name: Box.around((n.x, n.y), n.width + 0.06, n.height + 0.06) for name, n in nodes.items()}
    own = [arrow for arrow in arrows if arrow.source == arrow.target]
    reserved = {arrow.source: _residual(nodes[arrow.source], arrow, nodes[arrow.source].outside).box() for arrow in own}
    routes: list[Route] = []
    for arrow in arrows:
        if arrow.source != arrow.target and not arrow.double:
            routes.append(_best(nodes, boxes, {}, arrow, routes))
    curved = [arrow for arrow in arrows if arrow.double and arrow.source != arrow.target]
    for arrow in sorted(curved, key=lambda arrow: _distance(nodes[arrow.source], nodes[arrow.target])):
        routes.append(_best(nodes, boxes, reserved, arrow, routes))
    stubs: list[Route] = []
    for arrow in own:
        stubs.append(_stub(nodes[arrow.source], arrow, boxes, routes, stubs))
    return [*_place_texts(routes, list(boxes.values()), stubs), *stubs]


def _distance(a: Node, b: Node) -> float:
    return math.hypot(a.x - b.x, a.y - b.y)


def _best(
    nodes: Mapping[str, Node],
    boxes: Mapping[str, Box],
    reserved: Mapping[str, Box],
    arrow: Arrow,
    routes: Sequence[Route],
) -> Route:
    """The course with the lowest cost; a path may bend, a covariance must."""
    a, b = nodes[arrow.source], nodes[arrow.target]
    length = _distance(a, b)
    normal = (-(b.y - a.y) / length, (b.x - a.x) / length)

    def course(bend: float) -> Route:
        control = ((a.x + b.x) / 2.0 + bend * normal[0], (a.y + b.y) / 2.0 + bend * normal[1])
        route = Route(arrow, border(a, control), control, border(b, control), control)
        return replace(route, at=route.point(0.5))

    def cost(bend: float) -> float:
        route = course(bend)
        line = route.points()
        total = 1.5 * abs(bend)
        ends = (arrow.source, arrow.target)
        total += 100.0 * sum(any(box.holds(p) for p in line) for name, box in boxes.items() if name not in ends)
        total += 60.0 * sum(any(boxes[name].holds(p) for p in line[4:-4]) for name in ends)
        total += 6.0 * sum(any(box.holds(p) for p in line) for box in reserved.values())
        if arrow.double:
            text = route.box()
            total += 20.0 * sum(text.overlaps(box) for box in (*boxes.values(), *(other.box() for other in routes)))
            total += 6.0 * sum(text.overlaps(box) for box in reserved.values())
        for other in routes:
            if {other.arrow.source, other.arrow.target} == set(ends):
                total += 50.0 * (math.dist(other.point(0.5), route.point(0.5)) < 0.25)
            total += 4.0 * _crossings(line, other.points())
        return total

    return course(min(BULGES if arrow.double else BENDS, key=cost))


def _crossings(first: Sequence[Point], second: Sequence[Point]) -> int:
    """How often two polylines cross."""
    return sum(
        crosses(first[i], first[i + 1], second[j], second[j + 1])
        for i in range(len(first) - 1)
        for j in range(len(second) - 1)
    )


def _residual(node: Node, arrow: Arrow, direction: Point) -> Route:
    """Short arrow from a residual's number to its variable, from a given side."""
    dx, dy = direction
    end = border(node, (node.x + dx, node.y + dy))
    start = (end[0] + STUB * dx, end[1] + STUB * dy)
    half = text_width(arrow.text, SMALL_SIZE) / 2.0 + 0.05
    at = (start[0] + half * dx, start[1] + (half if abs(dy) < 0.5 else 0.09) * dy)
    return Route(arrow, start, ((start[0] + end[0]) / 2.0, (start[1] + end[1]) / 2.0), end, at)


def _stub(node: Node, arrow: Arrow, boxes: Mapping[str, Box], routes: Sequence[Route], stubs: Sequence[Route]) -> Route:
    """Residual of a variable, on its freest side."""
    lines = [route.points() for route in routes]
    texts = [route.box() for route in routes if route.arrow.double]
    (x, y), slope = node.outside, math.sqrt(0.5)
    sides = [(x, y), (y, x), (-y, -x), (-x, -y)]
    sides += [(sx * slope, sy * slope) for sx in (1.0, -1.0) for sy in (1.0, -1.0)]

    def cost(side: Point) -> float:
        route = _residual(node, arrow, side)
        box = route.box()
        total = 0.6 * sides.index(side)
        total += 50.0 * sum(box.overlaps(other) for name, other in boxes.items() if name != node.name)
        total += 50.0 * sum(box.overlaps(other.box()) for other in stubs)
        total += 12.0 * sum(box.overlaps(other) for other in texts)
        total += 12.0 * sum(any(box.holds(point) for point in line) for line in lines)
        total += 6.0 * sum(_crossings([route.start, route.end], line) for line in lines)
        total += 4.0 * sum(math.dist(route.end, tip) < 0.1 for other in routes for tip in (other.start, other.end))
        return total

    return _residual(node, arrow, min(sides, key=cost))


def _place_texts(routes: Sequence[Route], boxes: Sequence[Box], stubs: Sequence[Route]) -> list[Route]:
    """Put every text on its own line, where it covers least."""
    placed = [replace(route, at=route.point(0.5)) for route in routes]
    lines = [route.points(40) for route in placed]
    stub_lines = [route.points(4) for route in stubs]
    taken = [*boxes, *(route.box() for route in stubs)]
    for _ in range(3):
        for k, route in enumerate(placed):
            if not route.arrow.text:
                continue
            others = [other.box() for j, other in enumerate(placed) if j != k and other.arrow.text]

            def cost(station: float, route: Route = route, k: int = k, others: list[Box] = others) -> float:
                box = replace(route, at=route.point(station)).box()
                near = Box(box.left - 0.05, box.bottom - 0.05, box.right + 0.05, box.top + 0.05)
                total = 2.0 * abs(station - 0.5)
                total += 60.0 * sum(box.overlaps(other) for other in (*taken, *others))
                crossing = (line for j, line in enumerate(lines) if j != k)
                total += 8.0 * sum(any(near.holds(point) for point in line) for line in (*crossing, *stub_lines))
                return total

            placed[k] = replace(route, at=route.point(min(STATIONS, key=cost)))
    return placed

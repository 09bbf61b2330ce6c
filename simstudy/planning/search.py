"""The simulation search: which size reaches the target, and how sure that is.

The curve of a measure is known up to a small correction (`limits`), so the search fits that correction (`curve`)
instead of bisecting: every replicate at every size informs the answer, and its uncertainty gives the interval. Rounds
of three sizes, at the current answer and a factor of 1.2 to either side, close in on the answer and grow until the
measure at the answer is known to the tolerance. Where there is no analytic curve, sizes are doubled or halved first,
until two lie on either side of the target.

Compared with SimDesign's ``SimSolve`` (Chalmers, 2024: probabilistic bisection, Waeber, Frazier & Henderson 2013, with
a polynomial probit fitted along the way), which asks at every step only on which side the root lies and so needs a
bracket and some 9,000 replicates by default; and with ``mlpwr`` (Zimmer & Debelak, 2023: a Gaussian process or a
regression as surrogate), whose surrogate has to learn a shape that is known here. Both are made for any simulation;
this one uses what is known of the power of a multilevel model.

Everything is a function of the scenario, the target and the settings: the same search gives the same bits, resumed or
not, whatever the number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from simstudy.linalg.stacked import FloatArray
from simstudy.planning.criterion import Criterion, link
from simstudy.planning.curve import STEP, Curve, Observed, Offset, fit_curve
from simstudy.planning.simulate import Outcome

FIRST_ROUND = 300
"""Replicates at each of the three sizes of the first round; they double from round to round as long as need be."""
BRACKET = 400
"""Replicates at a size while the target is bracketed."""
WINDOW = 2.0
"""Points further than this factor from the answer do not enter the last fits."""
STAY = 1.06
"""An answer that moved less than this factor keeps the sizes of the round before."""
REACH = 3
"""The curve is read up to this factor beyond the sizes that were simulated."""
Z, SURE = 1.959963984540054, 3.0
"""The interval of the answer is a 95 % one; a target is given up when the largest size misses it by 3 SEs."""
MAX_ROUNDS = 25
KNOTS, GRID = 24, 1.1
"""An analytic curve asked for at more sizes than this is interpolated between sizes that differ by this factor."""

Run = Callable[[int, int, int], Outcome]
"""Size, first and stop -> outcomes of the replicates first..stop-1 of that size."""


@dataclass(frozen=True)
class Bounds:
    """Sizes that may be answered, and where to begin."""

    low: int
    high: int
    start: int


@dataclass(frozen=True)
class Effort:
    """How much is simulated.

    Attributes
    ----------
    tolerance : float
        Half-width of the 95 % interval of the measure at the answer: absolute for rates, relative to the target for
        means.
    maximum : int
        Replicates that a search may spend.
    """

    tolerance: float
    maximum: int


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes
    ----------
    answer : int or None
        Smallest size that reaches the target by the fitted curve; None if no size up to the bound does.
    low, high : int or None
        95 % interval of that size; None where it goes beyond the largest size allowed.
    curve : Curve or None
    points : tuple of Observed
        Pooled replicates at each size, ascending.
    stop : str
        Why the search ended: ``tolerance``, ``maximum``, ``beyond`` (the largest size does not reach the target),
        ``always`` (the smallest does) or ``nothing`` (no number at any size).
    error : str
        First error of the method, if there was one.
    state : _Search
    """

    answer: int | None
    low: int | None
    high: int | None
    curve: Curve | None
    points: tuple[Observed, ...]
    stop: str
    error: str
    state: _Search

    def with_outcome(self, size: int, outcome: Outcome) -> Found:
        """The answer with more replicates of a size, such as those of a confirming run; no search goes on from it."""
        outcomes = {**self.state.outcomes}
        outcomes[size] = Outcome.join([outcomes[size], outcome]) if size in outcomes else outcome
        state = replace(self.state, outcomes=outcomes)
        curve = state.fit(float(size))
        return _result(state, curve, None if curve is None else _first(curve.margin, _window(state)), self.stop)


@dataclass
class _Search:
    criterion: Criterion
    offset: Offset
    run: Run
    bounds: Bounds
    anchored: bool
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def add(self, size: int, n: int) -> Observed:
        """Run ``n`` more replicates at a size."""
        before = self.outcomes.get(size)
        have = 0 if before is None else len(before.estimate)
        new = self.run(size, have, have + n)
        self.outcomes[size] = new if before is None else Outcome.join([before, new])
        return self.observed(size)

    def observed(self, size: int) -> Observed:
        return self.outcomes[size].observed(self.criterion, size)

    @property
    def points(self) -> tuple[Observed, ...]:
        return tuple(self.observed(size) for size in sorted(self.outcomes))

    @property
    def spent(self) -> int:
        return sum(len(outcome.estimate) for outcome in self.outcomes.values())

    def fit(self, centre: float) -> Curve | None:
        """Curve around a size, from the points near it if two sizes are, from all otherwise."""
        usable = [point for point in self.points if point.n > 0 and np.isfinite(point.value) and point.mcse > 0.0]
        near = [point for point in usable if centre / WINDOW <= point.size <= centre * WINDOW]
        chosen = near if len({point.size for point in near}) > 1 else usable
        return fit_curve(self.criterion, self.offset, chosen, centre, self.anchored) if chosen else None


def search(
    criterion: Criterion,
    offset: Offset,
    run: Run,
    bounds: Bounds,
    effort: Effort,
    say: Callable[[str], None],
    *,
    analytic: bool,
    anchored: bool,
) -> Found:
    """Find the smallest size that reaches the target.

    Parameters
    ----------
    criterion : Criterion
    offset : callable
        Analytic curve on the scale of the link, of sizes (S,); 0 where there is none.
    run : callable
    bounds : Bounds
    effort : Effort
    say : callable
        Takes messages of progress.
    analytic : bool
        Whether the offset is an analytic curve; sizes are bracketed first if it is not.
    anchored : bool
        Whether it has the exact limit, see `fit_curve`.
    """
    state = _Search(criterion, offset, run, bounds, analytic and anchored)
    if not analytic:
        ended = _bracket(state, say)
        if ended:
            return _result(state, None, bounds.low if ended == "always" else None, ended)
        centre = _between(state)
    else:
        centre = bounds.start
    n = FIRST_ROUND
    for _ in range(MAX_ROUNDS):
        for size in _sizes(centre, bounds):
            state.add(size, n)
        curve = state.fit(centre)
        if curve is None:
            return _result(state, None, None, "nothing")
        answer = _first(curve.margin, _window(state))
        moved = _clipped(answer, curve, state, bounds)
        curve = state.fit(moved) or curve
        answer = _first(curve.margin, _window(state))
        se, wanted = _precision(curve, criterion, moved, effort)
        shown = "beyond the bounds" if answer is None else f"{answer:,}"
        say(f"  {state.spent:,} data sets: answer {shown}, {criterion.measure.words} there +- {Z * se:.3g}")
        settled = max(moved, centre) <= STEP * min(moved, centre)
        at_most = float(curve.margin(np.array([float(bounds.high)]), SURE)[0]) if bounds.high in state.outcomes else 0.0
        if at_most < 0.0:
            return _result(state, curve, None, "beyond")
        if settled and se <= wanted:
            return _result(state, curve, answer, "tolerance")
        if state.spent >= effort.maximum:
            break
        n = _next(n, se, wanted, settled, state.spent, effort)
        centre = centre if max(moved, centre) <= STAY * min(moved, centre) else moved
    return _result(state, curve, answer, "maximum")


def _sizes(centre: int, bounds: Bounds) -> list[int]:
    """The current answer and its neighbours, within the bounds; at a bound two sizes are on the other side."""
    steps = [round(centre / STEP), centre, round(centre * STEP)]
    if steps[0] < bounds.low:
        steps = [bounds.low, round(bounds.low * STEP), round(bounds.low * STEP**2)]
    if steps[2] > bounds.high:
        steps = [round(bounds.high / STEP**2), round(bounds.high / STEP), bounds.high]
    spread = [steps[0], max(steps[1], steps[0] + 1), max(steps[2], steps[1] + 1, steps[0] + 2)]
    return sorted({min(max(size, bounds.low), bounds.high) for size in spread})


def _next(n: int, se: float, wanted: float, settled: bool, spent: int, effort: Effort) -> int:
    """Replicates at each size of the next round: what the tolerance still needs, at most twice those of this round."""
    needed = 1.1 * spent * ((se / wanted) ** 2 - 1.0) / 3.0 if se > wanted else float(n) / 2.0
    more = min(2 * n, math.ceil(max(needed, FIRST_ROUND / 3) / 50) * 50) if settled else n + n // 2
    return max(50, min(more, math.ceil(max(effort.maximum - spent, 150) / 3)))


def _precision(curve: Curve, criterion: Criterion, size: int, effort: Effort) -> tuple[float, float]:
    """Standard error of the measure at a size, and the one that the tolerance asks for."""
    se = float(curve.value_se(np.array([float(size)]))[0])
    unit = 1.0 if criterion.measure.is_rate else criterion.target
    return se, effort.tolerance * unit / Z


def _clipped(answer: int | None, curve: Curve, state: _Search, bounds: Bounds) -> int:
    """The next centre: the answer, not further than twice beyond what has been simulated."""
    sizes = list(state.outcomes)
    if answer is None:
        answer = bounds.high
    return int(min(max(answer, min(sizes) // 2, bounds.low), 2 * max(sizes), bounds.high))


def _bracket(state: _Search, say: Callable[[str], None]) -> str:
    """Double or halve the size until the target lies between two sizes; why there is no search, or empty."""
    bounds = state.bounds
    size, reached_at, missed_at = bounds.start, 0, 0
    while True:
        point = state.add(size, BRACKET)
        say(f"  size {size:,}: {state.criterion.measure.words} {point.value:.3g} ({point.mcse:.2g})")
        if point.n and state.criterion.reached(point.value):
            reached_at = size
            if size == bounds.low:
                return "always"
            following = max(size // 2, bounds.low)
        else:
            missed_at = size
            if size == bounds.high:
                return "beyond" if any(p.n for p in state.points) else "nothing"
            following = min(2 * size, bounds.high)
        if reached_at and missed_at:
            return ""
        size = following


def _between(state: _Search) -> int:
    """Size between the two around the target, by interpolation on the scale of the link."""
    transform = link(state.criterion.measure.link)
    known = [p for p in state.points if p.n and np.isfinite(p.value)]
    margins = {p.size: float(state.criterion.margin(transform(np.array(p.value)))) for p in known}
    low = max((size for size, margin in margins.items() if margin < 0.0), default=state.bounds.low)
    high = min((size for size, margin in margins.items() if margin >= 0.0 and size > low), default=state.bounds.high)
    gap = margins.get(high, 1.0) - margins.get(low, -1.0)
    share = min(max(-margins.get(low, -1.0) / gap, 0.1), 0.9) if gap > 0 else 0.5
    return round(float(low * (high / low) ** share))


def _first(margin: Callable[..., FloatArray], bounds: Bounds, z: float = 0.0) -> int | None:
    """Smallest size from which on the target is reached; None if the largest does not reach it."""
    sizes = np.arange(bounds.low, bounds.high + 1, dtype=np.float64)
    missed = np.flatnonzero(~(margin(sizes, z) >= 0.0))
    if len(missed) == 0:
        return bounds.low
    at = int(missed[-1]) + 1
    return int(sizes[at]) if at < len(sizes) else None


def _window(state: _Search) -> Bounds:
    """Sizes around those simulated, on which the curve is read."""
    low, high = min(state.outcomes) // REACH, max(state.outcomes) * REACH
    return Bounds(max(state.bounds.low, low), min(state.bounds.high, high), state.bounds.start)


def _result(state: _Search, curve: Curve | None, answer: int | None, stop: str) -> Found:
    low = high = None
    if curve is not None:
        low, high = (_first(curve.margin, _window(state), z) for z in (Z, -Z))
        if answer is None:
            stop = "beyond"
    error = next((outcome.error for outcome in state.outcomes.values() if outcome.error), "")
    return Found(answer, low, high, curve, state.points, stop, error, state)


def no_offset(size: FloatArray) -> FloatArray:
    """Nothing is known of the curve."""
    return np.zeros_like(np.asarray(size, dtype=np.float64))


def offset_of(criterion: Criterion, value: Callable[[FloatArray], FloatArray]) -> Offset:
    """Analytic curve on the scale of the link; values are remembered, and interpolated between sizes far apart."""
    transform = link(criterion.measure.link)
    known: dict[float, float] = {}

    def offset(size: FloatArray) -> FloatArray:
        sizes = np.atleast_1d(np.asarray(size, dtype=np.float64))
        knots = _knots(float(sizes.min()), float(sizes.max())) if len(sizes) > KNOTS else sizes
        new = np.array([knot for knot in knots if float(knot) not in known])
        if len(new):
            known.update(zip(new.tolist(), transform(value(new)).tolist(), strict=True))
        table = np.array([known[float(knot)] for knot in knots])
        return table if knots is sizes else np.interp(np.log(sizes), np.log(knots), table)

    return offset


def _knots(low: float, high: float) -> FloatArray:
    """Whole sizes on a fixed geometric grid around a stretch, so that they are met again."""
    first, last = math.floor(math.log(low) / math.log(GRID)), math.ceil(math.log(high) / math.log(GRID))
    return np.unique(np.maximum(np.rint(GRID ** np.arange(first, last + 1, dtype=np.float64)), 1.0))

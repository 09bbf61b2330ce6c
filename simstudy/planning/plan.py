"""From a request to a plan: the analytic answer, the simulation search around it, the confirming run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from simstudy.errors import SimstudyError
from simstudy.planning.axis import Axis
from simstudy.planning.criterion import inverse_link
from simstudy.planning.curve import Observed
from simstudy.planning.limits import smallest
from simstudy.planning.question import unusable
from simstudy.planning.result import (
    ALWAYS,
    ANALYTIC,
    BEYOND,
    CONFIRMED,
    IMPOSSIBLE,
    NOT_CONFIRMED,
    NOTHING,
    Answer,
    PlanRecord,
)
from simstudy.planning.search import Bounds, Effort, Found, Z, search
from simstudy.planning.simulate import Outcome, Simulator
from simstudy.planning.verdict import cautions, impossible

CONFIRM_FIRST = 1_000_000
"""First replicate of the confirming run: the search uses those below, so that nothing is confirmed by itself."""
CONFIRMATIONS = 3
"""Confirming runs at most."""
CHECK_REPLICATES = 2_000
"""Data sets that show what a target found to be impossible looks like."""
CURVE_POINTS = 41
FEW_CONVERGED = 0.99


@dataclass(frozen=True)
class Work:
    """How a plan is worked out.

    Attributes
    ----------
    simulate : bool
        Whether the analytic answer is followed by a search.
    effort : Effort
    confirm : int
        Data sets of the confirming run.
    say : callable
        Takes messages of progress.
    """

    simulate: bool
    effort: Effort
    confirm: int
    say: Callable[[str], None]


def plan_axis(axis: Axis, simulator: Simulator, work: Work, request: dict[str, Any]) -> PlanRecord:
    """Plan along one line.

    Raises
    ------
    SimstudyError
        If the method cannot be used here, or says nothing about the parameter.
    """
    begin, method = time.monotonic(), axis.question.method
    limits = axis.limits(axis.high)
    if reason := unusable(limits, method):
        raise SimstudyError(f"method: {reason}")
    exact = axis.analytic and not axis.left_out
    low, high = (axis.low, axis.high) if axis.name == "n_clusters" else (axis.fixed or 0, axis.fixed or 0)
    why = impossible(limits, method, low, high) if axis.name == "n_clusters" or not exact else ""
    notes = cautions(limits, method) if exact else []
    if limits.dropped:
        total = limits.dropped + len(limits.populations)
        notes.append(f"theory has no curve for {limits.dropped} of {total} draws; its mean is over the others")
    plan = PlanRecord(IMPOSSIBLE, why, request, notes=tuple(notes))
    if why:
        return _timed(_shown(plan, axis, simulator, work), begin, simulator)
    at = axis.answer()
    analytic = _answer(axis, at, axis.value(np.array([float(at)]))[0]) if at is not None else None
    if axis.analytic:
        work.say(f"analytic: {axis.symbol} = {at:,}" if at is not None else f"analytic: {_beyond(axis)}")
    plan = replace(plan, analytic=analytic if exact else None)
    if not work.simulate:
        if not exact:
            what = axis.left_out or f"{axis.criterion.measure.words}"
            raise SimstudyError(f"analytic: theory has no answer here ({what}); plan without --analytic, by simulation")
        status = BEYOND if at is None else ANALYTIC
        plan = replace(plan, status=status, why=_beyond(axis) if at is None else "", answer=analytic)
        return _timed(replace(plan, curve=_curve(axis, None, at)), begin, simulator)
    found = search_axis(axis, simulator, work, at)
    return _timed(_confirmed(plan, axis, found, simulator, work), begin, simulator)


def _timed(plan: PlanRecord, begin: float, simulator: Simulator) -> PlanRecord:
    return replace(plan, seconds=time.monotonic() - begin, replicates=simulator.replicates)


def search_axis(axis: Axis, simulator: Simulator, work: Work, start: int | None) -> Found:
    """Search along a line, from the analytic answer on if there is one."""
    bounds = Bounds(axis.low, axis.high, start if start is not None else _middle(axis))
    return search(
        axis.criterion,
        axis.offset,
        _runner(axis, simulator),
        bounds,
        work.effort,
        work.say,
        analytic=axis.analytic,
        anchored=axis.name == "n_clusters" and axis.criterion.measure.basis == "inverse",
    )


def _middle(axis: Axis) -> int:
    """Where to begin without an analytic answer: at the largest size if theory says that none is enough."""
    return axis.high if axis.analytic else min(max(100 if axis.name == "n_clusters" else 10, axis.low), axis.high)


def _runner(axis: Axis, simulator: Simulator) -> Callable[[int, int, int], Outcome]:
    """Size, first and stop (data sets) -> outcomes; with several draws, replicates of each."""

    def run(size: int, first: int, stop: int) -> Outcome:
        per_draw = len(simulator.draws.values)
        return simulator.run(
            axis.design(size), first // per_draw, first // per_draw + math.ceil((stop - first) / per_draw)
        )

    return run


def _confirmed(plan: PlanRecord, axis: Axis, found: Found, simulator: Simulator, work: Work) -> PlanRecord:
    """Add what the search found, and run the answer with fresh replicates.

    Where these do not agree with the curve within chance, they join the search's, and the answer that follows is
    confirmed in its turn; the last run decides.
    """
    rows = [_row(axis, point, "search") for point in found.points]
    plan = replace(plan, evaluations=pd.DataFrame(rows), curve=_curve(axis, found, found.answer))
    if found.answer is None:
        if found.stop == "nothing":
            error = f": {found.error}" if found.error else ""
            return replace(plan, status=NOTHING, why=f"no data set gave a number at any size tried{error}")
        return replace(plan, status=BEYOND, why=_unreached(axis, found))
    for k in range(CONFIRMATIONS):
        at = found.answer
        work.say(f"confirming {axis.design(at).text}: {work.confirm:,} fresh data sets")
        first = (k + 1) * CONFIRM_FIRST
        fresh = simulator.run(axis.design(at), first, first + simulator.replicates_for(work.confirm))
        point = fresh.observed(axis.criterion, at)
        rows.append(_row(axis, point, "confirm"))
        if _agrees(found, point):
            break
        updated = found.with_outcome(at, fresh)
        if updated.answer is None:
            break
        found = updated
        if found.answer == at:
            break
        work.say(f"  {axis.criterion.measure.words} {point.value:.4f}: not as expected; all together {found.answer:,}")
    low, high = point.value - Z * point.mcse, point.value + Z * point.mcse
    confirmed = {
        "value": point.value, "mcse": point.mcse, "low": low, "high": high, "n": point.n,
        "attempted": point.attempted, "converged": point.converged,
    }  # fmt: skip
    fine = any(axis.criterion.reached(value) for value in (low, point.value, high))
    status = NOT_CONFIRMED if not fine else ALWAYS if found.stop == "always" else CONFIRMED
    answer = _answer(axis, point.size, point.value, point.mcse, found.low, found.high)
    return replace(
        plan,
        status=status,
        why=_why(axis, status, found, point),
        answer=answer,
        confirmed=confirmed,
        evaluations=pd.DataFrame(rows),
        curve=_curve(axis, found, point.size),
        notes=_notes(plan, axis, point, found),
    )


def _agrees(found: Found, point: Observed) -> bool:
    """Whether a confirming run is as the curve has it."""
    if found.curve is None:
        return True
    expected = float(found.curve.value(np.array([float(point.size)]))[0])
    return abs(point.value - expected) <= Z * point.mcse


def _why(axis: Axis, status: str, found: Found, point: Observed) -> str:
    if status == NOT_CONFIRMED:
        return (
            f"the confirming run finds {axis.criterion.measure.words} {point.value:.4f} ({point.mcse:.4f}), further "
            f"from {axis.criterion.target:g} than chance allows: search more closely with a smaller --tolerance"
        )
    if status == ALWAYS or found.answer == axis.low:
        return f"{axis.symbol} = {axis.low:,} is the smallest allowed, and it reaches the target (--min sets it)"
    if found.stop == "maximum":
        return "the search ended at its largest number of data sets (--max-reps) before it was as precise as asked for"
    return ""


def _notes(plan: PlanRecord, axis: Axis, point: Observed, found: Found) -> tuple[str, ...]:
    notes = list(plan.notes)
    if axis.left_out:
        notes.append(f"theory is where the search began, and no answer here: {axis.left_out}")
    if point.converged < FEW_CONVERGED * point.attempted and axis.criterion.measure.name != "convergence":
        share = 100.0 * point.converged / point.attempted
        notes.append(
            f"{share:.1f} % of the data sets converged at the answer; {axis.criterion.measure.words} is among these "
            "(--convergence .99 plans for convergence itself)"
        )
    if found.curve is not None and found.curve.misfit > 1.0:
        notes.append("the simulated points lie off the fitted curve by more than chance; its band allows for that")
    return tuple(notes)


def _answer(
    axis: Axis, at: int, value: float, mcse: float = math.nan, low: int | None = None, high: int | None = None
) -> Answer:
    design, size = axis.design(at), axis.size_label(at)
    n_obs = axis.n_obs(at)
    cost = axis.question.price(design, n_obs / design.n_clusters) if axis.question.cost is not None else math.nan
    return Answer(design.n_clusters, size, n_obs, float(value), mcse, low, high, cost)


def _row(axis: Axis, point: Observed, role: str) -> dict[str, Any]:
    """A simulated size as a row."""
    return {
        "n_clusters": axis.design(point.size).n_clusters,
        "cluster_size": axis.size_label(point.size),
        "role": role,
        **{name: getattr(point, name) for name in ("value", "mcse", "n", "attempted", "converged")},
    }


def _curve(axis: Axis, found: Found | None, answer: int | None) -> pd.DataFrame:
    """Analytic and fitted curve around what was simulated, or around the analytic answer."""
    sizes = [point.size for point in found.points] if found is not None else []
    sizes += [answer] if answer is not None else []
    if not sizes:
        return pd.DataFrame()
    low, high = max(axis.low, round(0.6 * min(sizes))), min(axis.high, round(1.5 * max(sizes)))
    x = np.unique(np.rint(np.geomspace(low, max(high, low + 1), CURVE_POINTS)))
    table = pd.DataFrame({axis.name: x.astype(int)})
    curve = inverse_link(axis.criterion.measure.link)
    table["analytic"] = curve(axis.offset(x)) if axis.analytic else np.nan
    fitted = found.curve if found is not None else None
    for name, z in (("fitted", 0.0), ("fitted_low", -Z), ("fitted_high", Z)):
        table[name] = fitted.value(x, z) if fitted is not None else np.nan
    return table


def _shown(plan: PlanRecord, axis: Axis, simulator: Simulator, work: Work) -> PlanRecord:
    """Show an impossible target: what a simulation finds at an ordinary size."""
    if not work.simulate:
        return plan
    size = min(max(100 if axis.name == "n_clusters" else 10, axis.low), axis.high)
    outcome = simulator.run(axis.design(size), 0, simulator.replicates_for(CHECK_REPLICATES))
    point = outcome.observed(axis.criterion, size)
    text = f"{plan.why}. Simulated at {axis.design(size).text}: {point.value:.3f} ({point.mcse:.3f})"
    return replace(plan, why=text, evaluations=pd.DataFrame([_row(axis, point, "check")]))


def _beyond(axis: Axis) -> str:
    """No size reaches the target by theory; what would."""
    words = axis.criterion.measure.words
    value = float(axis.value(np.array([float(axis.high)]))[0])
    text = f"{words} is {value:.3f} at {axis.symbol} = {axis.high:,}, the largest allowed (--max)"
    if axis.name == "cluster_size":
        more = smallest(axis.criterion, axis.limits(axis.high).value, axis.fixed or 2, 1_000_000)
        enough = f"; with clusters of {axis.high:,}, {more:,} of them would do" if more is not None else ""
        text += f": larger clusters hardly help, more clusters do{enough}"
    return text


def _unreached(axis: Axis, found: Found) -> str:
    """The largest size does not reach the target, by simulation."""
    last = found.points[-1]
    text = (
        f"{axis.criterion.measure.words} is {last.value:.3f} ({last.mcse:.3f}) at {axis.symbol} = {last.size:,}, and "
        f"no {axis.symbol} up to {axis.high:,} (--max) reaches {axis.criterion.target:g}"
    )
    return f"{text}; analytic: {_beyond(axis)}" if axis.analytic and axis.name == "cluster_size" else text

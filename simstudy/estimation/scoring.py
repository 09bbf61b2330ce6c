"""The one batched optimiser: Fisher scoring with damping, an active set, and a slower Newton method for what is left.

Every pass evaluates all unfinished replicates at once; converged ones leave. A step solves (I + lambda diag I) s = g;
lambda is 0 until a step disappoints (Levenberg 1944, Marquardt 1963; gain ratio as in Nielsen 1999). The verdict rests
on the score and the information: a replicate has converged when the Newton decrement g' I^-1 g, twice the gain in
log-likelihood that a further step could bring, falls below ``tolerance`` with the information positive definite.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np

from simstudy.estimation.result import Status
from simstudy.likelihood.evaluation import Evaluation, Likelihood, Selectable
from simstudy.linalg.stacked import (
    BoolArray,
    FloatArray,
    IntArray,
    dot,
    eigh,
    inverse_spd,
    is_spd,
    matvec,
    solve_spd,
    transpose,
)

D = TypeVar("D", bound=Selectable)

TOLERANCE = 1e-12
MAX_ITER = 60
FALLBACK_MAX_ITER = 150  # where Newton finds a maximum, it takes fewer steps but in one of a hundred
STUCK = 1e8


class Metric(Protocol):
    """How an information is solved for a step, where it is not a plain matrix in the parameters."""

    def solve(self, information: FloatArray, score: FloatArray) -> tuple[FloatArray, BoolArray]:
        """I^-1 g (R, q), and where I is positive definite (R,)."""
        ...

    def damped(self, information: FloatArray, score: FloatArray, damping: FloatArray) -> FloatArray:
        """(I + lambda diag|I|)^-1 g (R, q)."""
        ...

    def curvature(self, information: FloatArray, step: FloatArray) -> FloatArray:
        """s' I s (R,)."""
        ...

    def move(self, information: FloatArray, step: FloatArray) -> FloatArray:
        """The parameters' change (R, q) that a step is."""
        ...


class Dense:
    """The metric of an information matrix (R, q, q) in the parameters themselves."""

    def solve(self, information: FloatArray, score: FloatArray) -> tuple[FloatArray, BoolArray]:
        """I^-1 g (R, q), and where I is positive definite (R,)."""
        return solve_spd(information, score)

    def damped(self, information: FloatArray, score: FloatArray, damping: FloatArray) -> FloatArray:
        """Solve (I + lambda diag|I|) s = g; where even that is singular, take a short step along the gradient."""
        diagonal = np.abs(np.diagonal(information, axis1=-2, axis2=-1))
        diagonal = np.maximum(diagonal, 1e-10 * diagonal.max(axis=-1, keepdims=True) + 1e-300)
        raised = information + damping[:, None, None] * diagonal[:, :, None] * np.eye(information.shape[-1])
        step, ok = solve_spd(raised, score)
        plain = score / (diagonal * (1.0 + damping[:, None]))
        return np.where(ok[:, None], step, plain)

    def curvature(self, information: FloatArray, step: FloatArray) -> FloatArray:
        """s' I s (R,)."""
        return dot(step, matvec(information, step))

    def move(self, information: FloatArray, step: FloatArray) -> FloatArray:
        """The step itself."""
        return step


DENSE = Dense()


@dataclass(frozen=True)
class Optimum:
    """Where the optimiser stopped.

    Attributes
    ----------
    params : (R, q)
    loglik : (R,)
    information : (R, q, q)
        As evaluated within 1e-6 standard errors of ``params``.
    status, n_iter : (R,)
    """

    params: FloatArray
    loglik: FloatArray
    information: FloatArray
    status: IntArray
    n_iter: IntArray

    @cached_property
    def inverse(self) -> FloatArray:
        """Inverse information (R, q, q), NaN where it is not positive definite; computed where it is asked for."""
        found, ok = inverse_spd(self.information)
        return np.where(ok[:, None, None], found, np.nan)

    def put(self, where: IntArray, other: Optimum) -> Optimum:
        """Replace the replicates ``where`` by those of another optimum."""

        def merge(mine: FloatArray, theirs: FloatArray) -> FloatArray:
            mine = mine.copy()
            mine[where] = theirs
            return mine

        status, n_iter = self.status.copy(), self.n_iter.copy()
        status[where], n_iter[where] = other.status, other.n_iter
        return Optimum(
            merge(self.params, other.params),
            merge(self.loglik, other.loglik),
            merge(self.information, other.information),
            status,
            n_iter,
        )


class Optimiser(Protocol):
    """A way to maximise a likelihood."""

    def once(self, likelihood: Any, data: Any, start: FloatArray) -> Optimum:
        """Scoring from one start (R, q), without the slower tries that follow where it fails."""
        ...

    def fully(self, likelihood: Any, data: Any, starts: tuple[FloatArray, ...]) -> Optimum:
        """The best point found from all starts, with slower tries for what is left."""
        ...


def maximise(
    evaluate: Callable[[FloatArray, D], Evaluation],
    data: D,
    start: FloatArray,
    *,
    tolerance: float = TOLERANCE,
    max_iter: int = MAX_ITER,
    metric: Metric = DENSE,
) -> Optimum:
    """Climb from ``start`` (R, q) with the information that ``evaluate`` returns, in the coordinates of ``metric``.

    A start where the likelihood does not exist ends as `Status.NON_PD`.
    """
    n, q = start.shape
    params = start.copy()
    first = evaluate(params, data)
    loglik, score, information = first.loglik.copy(), first.score.copy(), first.information.copy()
    newton = np.full((n, q), np.nan)  # the undamped step I^-1 g, NaN where I is not positive definite
    status = np.where(first.ok, int(Status.MAX_ITER), int(Status.NON_PD)).astype(np.int64)
    n_iter = np.zeros(n, dtype=np.int64)
    damping = np.zeros(n)
    active: IntArray = np.flatnonzero(first.ok)
    current: IntArray | None = None
    fresh = first.ok.copy()  # where the undamped step is not yet that of the present point
    for iteration in range(max_iter + 1):
        _refresh(metric, active, fresh, information, score, newton)
        step = newton[active]
        usable = np.isfinite(step).all(axis=-1)
        decrement = np.where(usable, dot(score[active], step), np.inf)
        done = usable & (decrement >= 0) & (decrement < tolerance)
        params[active[done]] += metric.move(information[active[done]], step[done])
        status[active[done]] = int(Status.OK)
        stuck = ~done & (damping[active] > STUCK)
        status[active[stuck]] = np.where(usable[stuck], int(Status.NON_PD), int(Status.SINGULAR_INFORMATION))
        n_iter[active] = iteration
        keep = ~(done | stuck)
        active, step, usable = active[keep], step[keep], usable[keep]
        if not len(active) or iteration == max_iter:
            break
        if current is None or len(current) != len(active):
            current, subset = active, data.select(active)
        damping[active[~usable & (damping[active] == 0)]] = 1e-3
        damped = damping[active] > 0
        if damped.any():
            step[damped] = metric.damped(information[active[damped]], score[active[damped]], damping[active[damped]])
        trial = params[active] + metric.move(information[active], step)
        found = evaluate(trial, subset)
        predicted = dot(step, score[active]) - 0.5 * metric.curvature(information[active], step)
        with np.errstate(invalid="ignore"):
            gain = found.loglik - loglik[active]
            noise = 1e-11 * (1.0 + np.abs(loglik[active]))
            accept = found.ok & ((gain > 0) | (gain > -noise) & (predicted < noise))
            ratio = np.where(predicted > noise, gain / np.maximum(predicted, noise), 1.0)
        taken = active[accept]
        params[taken], loglik[taken] = trial[accept], found.loglik[accept]
        score[taken], information[taken] = found.score[accept], found.information[accept]
        fresh[taken] = True
        damping[active] = _next_damping(damping[active], accept, ratio)
    left = status == int(Status.MAX_ITER)
    status[left & ~np.isfinite(newton).all(axis=-1)] = int(Status.SINGULAR_INFORMATION)
    return Optimum(params, loglik, information, status, n_iter)


def _refresh(
    metric: Metric, active: IntArray, fresh: BoolArray, information: FloatArray, score: FloatArray, newton: FloatArray
) -> None:
    """Solve for the undamped step of replicates that have moved; a refused step changes neither side."""
    moved = active[fresh[active]]
    if len(moved):
        newton[moved], _ = metric.solve(information[moved], score[moved])
        fresh[moved] = False


def _next_damping(damping: FloatArray, accept: BoolArray, ratio: FloatArray) -> FloatArray:
    shrunk = np.where(damping > 1e-6, damping / 5.0, 0.0)  # flat valleys want damping far below 1, not none
    good = np.where(ratio > 0.75, shrunk, np.where(ratio < 0.25, np.maximum(2.0 * damping, 0.3), damping))
    return np.where(accept, good, np.maximum(8.0 * damping, 0.3))


def scored(
    likelihood: Likelihood[D],
    data: D,
    start: FloatArray,
    *,
    tolerance: float = TOLERANCE,
    max_iter: int = MAX_ITER,
) -> Optimum:
    """Fisher scoring from one start (R, q); points that are no maxima are refused where that is cheap to know."""
    best = maximise(likelihood.evaluate, data, start, tolerance=tolerance, max_iter=max_iter)
    return _refuse_saddles(likelihood, data, best) if likelihood.verify_maximum else best


def with_fallback(
    likelihood: Likelihood[D],
    data: D,
    starts: tuple[FloatArray, ...],
    *,
    tolerance: float = TOLERANCE,
    max_iter: int = MAX_ITER,
) -> Optimum:
    """Fisher scoring from the first start; replicates that it cannot finish get slower tries.

    The tries, in order: scoring from the next starts; Newton's method with the observed information, made positive
    definite where it is not, from where the first scoring stopped and from the last start. What then fails is reported
    as failed.
    """

    def climb(subset: D, start: FloatArray) -> Optimum:
        return scored(likelihood, subset, start, tolerance=tolerance, max_iter=max_iter)

    best = climb(data, starts[0])
    first = best.params
    for k, start in enumerate(starts[1:], 1):
        tried = np.logical_or.reduce([(start == other).all(axis=-1) for other in starts[:k]])
        best = try_again(best, data, start, climb, ~tried)
    return with_newton(likelihood, data, best, (first, starts[-1]), tolerance=tolerance)


class Scoring:
    """`scored`, and `with_fallback`."""

    def once(self, likelihood: Any, data: Any, start: FloatArray) -> Optimum:
        """Scoring from one start (R, q)."""
        return scored(likelihood, data, start)

    def fully(self, likelihood: Any, data: Any, starts: tuple[FloatArray, ...]) -> Optimum:
        """Scoring from all starts, then Newton's method."""
        return with_fallback(likelihood, data, starts)


SCORING = Scoring()


def with_newton(
    likelihood: Likelihood[D],
    data: D,
    best: Optimum,
    starts: tuple[FloatArray, ...],
    *,
    tolerance: float = TOLERANCE,
    where: BoolArray | None = None,
) -> Optimum:
    """Newton's method with the observed information for the replicates that are not finished (of those in ``where``)."""
    newton = _newton(likelihood)

    def climb(subset: D, start: FloatArray) -> Optimum:
        found = maximise(newton, subset, start, tolerance=tolerance, max_iter=FALLBACK_MAX_ITER)
        return _verify(likelihood, subset, found)

    for start in starts:
        best = try_again(best, data, start, climb, where)
    return best


def try_again(
    best: Optimum,
    data: D,
    start: FloatArray,
    climb: Callable[[D, FloatArray], Optimum],
    where: BoolArray | None = None,
) -> Optimum:
    """Another try for the replicates that are not finished (of those in ``where``), kept where it led higher."""
    unfinished = best.status != int(Status.OK)
    left = np.flatnonzero(unfinished if where is None else unfinished & where)
    if not len(left):
        return best
    again = climb(data.select(left), start[left])
    again = replace(again, n_iter=again.n_iter + best.n_iter[left])
    better = (again.status == int(Status.OK)) | (again.loglik > best.loglik[left])
    chosen = np.flatnonzero(better)
    merged = best.put(left[chosen], _pick(again, chosen))
    return replace(merged, n_iter=_total(merged.n_iter, left, again.n_iter))


def _total(n_iter: IntArray, where: IntArray, values: IntArray) -> IntArray:
    n_iter = n_iter.copy()
    n_iter[where] = values
    return n_iter


def _pick(optimum: Optimum, which: IntArray) -> Optimum:
    return Optimum(
        optimum.params[which],
        optimum.loglik[which],
        optimum.information[which],
        optimum.status[which],
        optimum.n_iter[which],
    )


def _newton(likelihood: Likelihood[D]) -> Callable[[FloatArray, D], Evaluation]:
    """Evaluation with the observed information, its eigenvalues (in the expected one's metric) made positive."""

    def evaluate(params: FloatArray, data: D) -> Evaluation:
        found = likelihood.evaluate(params, data)
        observed = likelihood.observed_information(params, data)
        diagonal = np.abs(np.diagonal(found.information, axis1=-2, axis2=-1))
        with np.errstate(all="ignore"):
            scale = 1.0 / np.sqrt(diagonal)
            values, vectors, _ = eigh(observed * scale[:, :, None] * scale[:, None, :])
            floored = np.maximum(np.abs(values), 1e-6)
            rebuilt = (
                np.matmul(vectors * floored[:, None, :], transpose(vectors)) / scale[:, :, None] / scale[:, None, :]
            )
        return replace(found, information=rebuilt, ok=found.ok & np.isfinite(rebuilt).all(axis=(-2, -1)))

    return evaluate


def _refuse_saddles(likelihood: Likelihood[D], data: D, optimum: Optimum) -> Optimum:
    """Take the verdict OK from points that scoring moved to and that are no maxima.

    A start that needed no step is not looked at: it is the closed-form maximum.
    """
    moved = np.flatnonzero((optimum.status == int(Status.OK)) & (optimum.n_iter > 0))
    if not len(moved):
        return optimum
    maximum = is_spd(likelihood.observed_information(optimum.params[moved], data.select(moved)))
    status = optimum.status.copy()
    status[moved[~maximum]] = int(Status.SINGULAR_INFORMATION)
    return replace(optimum, status=status)


def _verify(likelihood: Likelihood[D], data: D, optimum: Optimum) -> Optimum:
    """Give the expected information back, and take the verdict OK away from saddle points."""
    found = likelihood.evaluate(optimum.params, data)
    status = optimum.status.copy()
    done = np.flatnonzero(status == int(Status.OK))
    if len(done):
        observed = likelihood.observed_information(optimum.params[done], data.select(done))
        maximum = is_spd(found.information[done]) & is_spd(observed)
        status[done[~maximum]] = int(Status.SINGULAR_INFORMATION)
    return replace(optimum, information=found.information, status=status)

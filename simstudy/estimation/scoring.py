"""The one batched optimiser: Fisher scoring with damping, an active set, and a slower Newton method for what is left.

Every pass evaluates all unfinished replicates at once; converged ones leave. A step solves (I + lambda diag I) s = g;
lambda is 0 until a step disappoints (Levenberg 1944, Marquardt 1963; gain ratio as in Nielsen 1999). The verdict rests
on the score and the information: a replicate has converged when the Newton decrement g' I^-1 g, twice the gain in
log-likelihood that a further step could bring, falls below ``tolerance`` with the information positive definite.

Within a `Box` steps are projected (Bertsekas 1982): a parameter at a bound whose score points outwards is held there,
the others take the step of the problem without it, and what would leave the box stops at its side. The gain ratio and
the verdict are those of the projected step and of the parameters that are not held, which may change at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, Protocol, TypeVar

import numpy as np

from simstudy.estimation.finish import NEAR, finish
from simstudy.estimation.optimum import DENSE, Box, Metric, Optimum, beside, inverse_beside
from simstudy.estimation.result import Status
from simstudy.likelihood.evaluation import Evaluation, Likelihood, Selectable
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, dot, eigh, is_spd, transpose

D = TypeVar("D", bound=Selectable)
S = TypeVar("S", FloatArray, IntArray)
L = TypeVar("L", contravariant=True)
C = TypeVar("C", contravariant=True)

TOLERANCE = 1e-12
MAX_ITER = 60
FALLBACK_MAX_ITER = 150  # where Newton finds a maximum, it takes fewer steps but in one of a hundred
STUCK = 1e8


class Optimiser(Protocol[L, C]):
    """A way to maximise likelihoods of a type L on data of a type C.

    Attributes
    ----------
    by_pairs : bool
        Whether the model's moments are all free and its data complete, so that the information falls into pairs
        (`FreeMoments`).
    """

    by_pairs: ClassVar[bool]

    def once(self, likelihood: L, data: C, start: FloatArray, box: Box | None = None) -> Optimum:
        """Scoring from one start (R, q), without the slower tries that follow where it fails."""
        ...

    def fully(self, likelihood: L, data: C, starts: Sequence[FloatArray], box: Box | None = None) -> Optimum:
        """The best point found from all starts, with slower tries for what is left."""
        ...


def maximise(
    evaluate: Callable[[FloatArray, D], Evaluation],
    data: D,
    start: FloatArray,
    *,
    tolerance: float = TOLERANCE,
    max_iter: int = MAX_ITER,
    box: Box | None = None,
    metric: Metric = DENSE,
    move: Callable[[FloatArray, FloatArray], FloatArray] = np.add,
    slack: float = 0.0,
) -> Optimum:
    """Climb from ``start`` (R, q), or the nearest point of the box, with the information that ``evaluate`` returns.

    Score and information are in the coordinates of ``metric``; a box needs those of the parameters. Damped steps lead
    to ``move(params, step)``, which may be any curve with that tangent. Differences of log-likelihoods below ``slack``
    are not looked at: those of quadrature are not exactly what its score says.

    A start where the likelihood does not exist ends as `Status.NON_PD`.
    """
    return _climb(
        evaluate,
        data,
        start,
        tolerance=tolerance,
        max_iter=max_iter,
        box=box,
        metric=metric,
        move=move,
        slack=slack,
    )[0]


def _climb(
    evaluate: Callable[[FloatArray, D], Evaluation],
    data: D,
    start: FloatArray,
    *,
    tolerance: float,
    max_iter: int,
    box: Box | None = None,
    metric: Metric = DENSE,
    move: Callable[[FloatArray, FloatArray], FloatArray] = np.add,
    slack: float = 0.0,
    near: float = 0.0,
) -> tuple[Optimum, FloatArray]:
    """`maximise`, and where the next step leads those that left because its decrement was < near (R, q), else NaN."""
    n, q = start.shape
    params = start.copy() if box is None else box.clip(start)
    first = evaluate(params, data)
    loglik, score, information = first.loglik.copy(), first.score.copy(), first.information.copy()
    newton = np.full((n, q), np.nan)  # the undamped step I^-1 g, NaN where I is not positive definite
    status = np.where(first.ok, int(Status.MAX_ITER), int(Status.NON_PD)).astype(np.int64)
    n_iter = np.zeros(n, dtype=np.int64)
    damping = np.zeros(n)
    active: IntArray = np.flatnonzero(first.ok)
    current: IntArray | None = None
    fresh = first.ok.copy()  # where the undamped step is not yet that of the present point
    held = None if box is None else np.zeros((n, q), dtype=bool)
    goals = np.full((n, q), np.nan)

    def local(which: IntArray) -> tuple[FloatArray, FloatArray]:
        """Information and score, those of held parameters such that they do not move."""
        if held is None:
            return information[which], score[which]
        return beside(information[which], held[which]), np.where(held[which], 0.0, score[which])

    for iteration in range(max_iter + 1):
        if held is not None and box is not None:
            held[active] = box.holds(params[active], score[active])
        moved = active[fresh[active]]  # a refused step changes neither score nor information
        if len(moved):
            newton[moved], _ = metric.solve(*local(moved))
            fresh[moved] = False
        step = newton[active]
        usable = np.isfinite(step).all(axis=-1)
        decrement = np.where(usable, dot(score[active], step), np.inf)
        done = usable & (decrement >= 0) & (decrement < tolerance)
        params[active[done]] += metric.move(information[active[done]], step[done])
        if box is not None:
            params[active[done]] = box.clip(params[active[done]])
        status[active[done]] = int(Status.OK)
        stuck = ~done & (damping[active] > STUCK)
        status[active[stuck]] = np.where(usable[stuck], int(Status.NON_PD), int(Status.SINGULAR_INFORMATION))
        n_iter[active] = iteration
        leave = ~done & usable & (damping[active] == 0.0) & (decrement >= 0) & (decrement < near)
        if leave.any():
            goal = params[active] + metric.move(information[active], step)
            if box is not None and held is not None:
                leave &= ~held[active].any(axis=-1) & box.contains(goal)
            goals[active[leave]] = goal[leave]
        keep = ~(done | stuck | leave)
        active, step, usable = active[keep], step[keep], usable[keep]
        if not len(active) or iteration == max_iter:
            break
        if current is None or len(current) != len(active):
            current, subset = active, data.select(active)
        damping[active[~usable & (damping[active] == 0)]] = 1e-3
        damped = damping[active] > 0
        if damped.any():
            step[damped] = metric.damped(*local(active[damped]), damping[active[damped]])
        moved_by = metric.move(information[active], step)
        trial = params[active] + moved_by
        if damped.any():
            trial[damped] = move(params[active[damped]], moved_by[damped])
        if box is not None:
            trial = box.clip(trial)
            step = trial - params[active]
        found = evaluate(trial, subset)
        predicted = dot(step, score[active]) - 0.5 * metric.curvature(information[active], step)
        with np.errstate(invalid="ignore"):
            gain = found.loglik - loglik[active]
            noise = np.maximum(slack, 1e-11 * (1.0 + np.abs(loglik[active])))
            accept = found.ok & ((gain > 0) | (gain > -noise) & (predicted < noise))
            ratio = np.where(predicted > noise, gain / np.maximum(predicted, noise), 1.0)
        taken = active[accept]
        params[taken], loglik[taken] = trial[accept], found.loglik[accept]
        score[taken], information[taken] = found.score[accept], found.information[accept]
        fresh[taken] = True
        damping[active] = _next_damping(damping[active], accept, ratio)
    left = status == int(Status.MAX_ITER)
    status[left & ~np.isfinite(newton).all(axis=-1)] = int(Status.SINGULAR_INFORMATION)
    return Optimum(params, loglik, information, status, n_iter, held), goals


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
    box: Box | None = None,
) -> Optimum:
    """Fisher scoring from one start (R, q); points that are no maxima are refused where that is cheap to know.

    There the last steps are Newton's (`finish`), and scoring goes on where these do not arrive.
    """

    def climb(subset: D, where: FloatArray, near: float) -> tuple[Optimum, FloatArray]:
        best, goals = _climb(
            likelihood.evaluate, subset, where, tolerance=tolerance, max_iter=max_iter, box=box, near=near
        )
        return (_refuse_saddles(likelihood, subset, best) if likelihood.verify_maximum else best), goals

    best, goals = climb(data, start, NEAR if likelihood.verify_maximum else 0.0)
    which = np.flatnonzero(~np.isnan(goals).any(axis=-1))
    if not len(which):
        return best
    subset = data if len(which) == len(goals) else data.select(which)
    found = finish(likelihood, subset, goals[which], tolerance, box)
    found = replace(found, n_iter=found.n_iter + best.n_iter[which])
    arrived = found.status == int(Status.OK)
    best = best.put(which[arrived], found.pick(np.flatnonzero(arrived)))
    left = which[~arrived]
    if not len(left):
        return best
    again, _ = climb(data.select(left), best.params[left], 0.0)
    return best.put(left, replace(again, n_iter=again.n_iter + found.n_iter[~arrived]))


def with_fallback(
    likelihood: Likelihood[D],
    data: D,
    starts: Sequence[FloatArray],
    *,
    tolerance: float = TOLERANCE,
    max_iter: int = MAX_ITER,
    box: Box | None = None,
) -> Optimum:
    """Fisher scoring from the first start; replicates that it cannot finish get slower tries.

    The tries, in order: scoring from the next starts; Newton's method with the observed information, made positive
    definite where it is not, from where the first scoring stopped, from the last start, and (within a box) from the
    best point so far. What then fails is reported as failed.
    """

    def climb(subset: D, start: FloatArray) -> Optimum:
        return scored(likelihood, subset, start, tolerance=tolerance, max_iter=max_iter, box=box)

    best = climb(data, starts[0])
    first = best.params
    for k in range(1, len(starts)):
        if (best.status == int(Status.OK)).all():  # and no other start need be known
            return best
        tried = np.logical_or.reduce([(starts[k] == starts[other]).all(axis=-1) for other in range(k)])
        best = try_again(best, data, starts[k], climb, ~tried)
    best = with_newton(likelihood, data, best, (first, starts[-1]), tolerance=tolerance, box=box)
    if box is None:
        return best
    # sides of a box make local maxima: the best point so far may not be the first one's
    return _name_singular(with_newton(likelihood, data, best, (best.params,), tolerance=tolerance, box=box))


class Scoring:
    """`scored`, and `with_fallback`."""

    by_pairs: ClassVar[bool] = False

    def once(self, likelihood: Likelihood[D], data: D, start: FloatArray, box: Box | None = None) -> Optimum:
        """Scoring from one start (R, q)."""
        return scored(likelihood, data, start, box=box)

    def fully(
        self, likelihood: Likelihood[D], data: D, starts: Sequence[FloatArray], box: Box | None = None
    ) -> Optimum:
        """Scoring from all starts, then Newton's method."""
        return with_fallback(likelihood, data, starts, box=box)


SCORING = Scoring()


def with_newton(
    likelihood: Likelihood[D],
    data: D,
    best: Optimum,
    starts: tuple[FloatArray, ...],
    *,
    tolerance: float = TOLERANCE,
    box: Box | None = None,
    where: BoolArray | None = None,
) -> Optimum:
    """Newton's method with the observed information for replicates that are not finished (of those in ``where``)."""
    newton = _newton(likelihood)

    def climb(subset: D, start: FloatArray) -> Optimum:
        found = maximise(newton, subset, start, tolerance=tolerance, max_iter=FALLBACK_MAX_ITER, box=box)
        return _verify(likelihood, subset, found)

    for start in starts:
        best = try_again(best, data, start, climb, where)
    return best


def newton_from(likelihood: Likelihood[D], data: D, start: FloatArray, max_iter: int) -> Optimum:
    """Newton's method with the observed information alone, from one start (R, q)."""
    return maximise(_newton(likelihood), data, start, max_iter=max_iter)


def _name_singular(optimum: Optimum) -> Optimum:
    """Call replicates that ran out of steps not identified where the information beside their bounds is singular."""
    assert optimum.held is not None
    left = np.flatnonzero(optimum.status == int(Status.MAX_ITER))
    _, ok = inverse_beside(optimum.information[left], optimum.held[left])
    status = optimum.status.copy()
    status[left[~ok]] = int(Status.SINGULAR_INFORMATION)
    return replace(optimum, status=status)


def try_again(
    best: Optimum,
    data: D,
    start: S,
    climb: Callable[[D, S], Optimum],
    where: BoolArray | None = None,
) -> Optimum:
    """Another try for the replicates that are not finished (of those in ``where``), kept where it led higher.

    ``start`` has something for each replicate that ``climb`` begins with.
    """
    unfinished = best.status != int(Status.OK)
    left = np.flatnonzero(unfinished if where is None else unfinished & where)
    if not len(left):
        return best
    again = climb(data.select(left), start[left])
    again = replace(again, n_iter=again.n_iter + best.n_iter[left])
    better = (again.status == int(Status.OK)) | (again.loglik > best.loglik[left])
    chosen = np.flatnonzero(better)
    merged = best.put(left[chosen], again.pick(chosen))
    return replace(merged, n_iter=_total(merged.n_iter, left, again.n_iter))


def _total(n_iter: IntArray, where: IntArray, values: IntArray) -> IntArray:
    n_iter = n_iter.copy()
    n_iter[where] = values
    return n_iter


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
    observed = likelihood.observed_information(optimum.params[moved], data.select(moved))
    maximum = _positive(observed, optimum.pick(moved))
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
        some = optimum.pick(done)
        maximum = _positive(found.information[done], some) & _positive(observed, some)
        status[done[~maximum]] = int(Status.SINGULAR_INFORMATION)
    return replace(optimum, information=found.information, status=status)


def _positive(information: FloatArray, optimum: Optimum) -> BoolArray:
    """Where an information is positive definite beside what is held (R,)."""
    return is_spd(information if optimum.held is None else beside(information, optimum.held))

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

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from simstudy.estimation.result import Status
from simstudy.likelihood.evaluation import Evaluation, Likelihood, Selectable
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, dot, eigh, inverse_spd, matvec, transpose

D = TypeVar("D", bound=Selectable)

TOLERANCE = 1e-12
MAX_ITER = 60
FALLBACK_MAX_ITER = 400
STUCK = 1e8


@dataclass(frozen=True)
class Box:
    """Bounds of parameters.

    Attributes
    ----------
    lower, upper : (q,)
        Infinite where there are none.
    """

    lower: FloatArray
    upper: FloatArray

    def clip(self, params: FloatArray) -> FloatArray:
        """The nearest parameters (R, q) within the bounds."""
        return np.clip(params, self.lower, self.upper)

    def holds(self, params: FloatArray, score: FloatArray) -> BoolArray:
        """Which parameters (R, q) lie at a bound that the score would have them cross."""
        return np.asarray((params <= self.lower) & (score <= 0) | (params >= self.upper) & (score >= 0))


def inverse_beside(information: FloatArray, held: BoolArray | None) -> tuple[FloatArray, BoolArray]:
    """Inverse information (R, q, q) of the parameters that are not held, 0 for those that are (R, q).

    Returns it, and where the information beside the held parameters is positive definite.
    """
    if held is None:
        return inverse_spd(information)
    apart = held[:, :, None] | held[:, None, :]
    inverse, ok = inverse_spd(np.where(apart, np.eye(information.shape[-1]), information))
    return np.where(apart, 0.0, inverse), ok


@dataclass(frozen=True)
class Optimum:
    """Where the optimiser stopped.

    Attributes
    ----------
    params : (R, q)
    loglik : (R,)
    information : (R, q, q)
        As evaluated within 1e-6 standard errors of ``params``.
    inverse : (R, q, q)
        Its inverse, NaN where it is not positive definite; 0 in the rows and columns of held parameters.
    status, n_iter : (R,)
    held : (R, q) or None
        Parameters that a bound holds; None without bounds.
    """

    params: FloatArray
    loglik: FloatArray
    information: FloatArray
    inverse: FloatArray
    status: IntArray
    n_iter: IntArray
    held: BoolArray | None = None

    def put(self, where: IntArray, other: Optimum) -> Optimum:
        """Replace the replicates ``where`` by those of another optimum."""

        def merge(mine: FloatArray, theirs: FloatArray) -> FloatArray:
            mine = mine.copy()
            mine[where] = theirs
            return mine

        status, n_iter = self.status.copy(), self.n_iter.copy()
        status[where], n_iter[where] = other.status, other.n_iter
        held = None
        if self.held is not None and other.held is not None:
            held = self.held.copy()
            held[where] = other.held
        return Optimum(
            merge(self.params, other.params),
            merge(self.loglik, other.loglik),
            merge(self.information, other.information),
            merge(self.inverse, other.inverse),
            status,
            n_iter,
            held,
        )


def maximise(
    evaluate: Callable[[FloatArray, D], Evaluation],
    data: D,
    start: FloatArray,
    *,
    tolerance: float = TOLERANCE,
    max_iter: int = MAX_ITER,
    box: Box | None = None,
) -> Optimum:
    """Climb from ``start`` (R, q), or the nearest point of the box, with the information that ``evaluate`` returns.

    A start where the likelihood does not exist ends as `Status.NON_PD`.
    """
    n, q = start.shape
    params = start.copy() if box is None else box.clip(start)
    first = evaluate(params, data)
    loglik, score, information = first.loglik.copy(), first.score.copy(), first.information.copy()
    inverse = np.full((n, q, q), np.nan)
    status = np.where(first.ok, int(Status.MAX_ITER), int(Status.NON_PD)).astype(np.int64)
    n_iter = np.zeros(n, dtype=np.int64)
    damping = np.zeros(n)
    active: IntArray = np.flatnonzero(first.ok)
    current: IntArray | None = None
    fresh = first.ok.copy()  # whether the inverse belongs to the present point
    held = None if box is None else np.zeros((n, q), dtype=bool)
    for iteration in range(max_iter + 1):
        if held is not None and box is not None:
            held[active] = box.holds(params[active], score[active])
        _refresh(active, fresh, information, inverse, held)
        usable = np.isfinite(inverse[active, 0, 0])
        step = matvec(inverse[active], score[active])
        decrement = np.where(usable, dot(score[active], step), np.inf)
        done = usable & (decrement >= 0) & (decrement < tolerance)
        params[active[done]] += step[done]
        if box is not None:
            params[active[done]] = box.clip(params[active[done]])
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
            still = None if held is None else held[active[damped]]
            step[damped] = _damped_step(
                information[active[damped]], score[active[damped]], damping[active[damped]], still
            )
        trial = params[active] + step
        if box is not None:
            trial = box.clip(trial)
            step = trial - params[active]
        found = evaluate(trial, subset)
        predicted = dot(step, score[active]) - 0.5 * dot(step, matvec(information[active], step))
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
    status[left & ~np.isfinite(inverse[:, 0, 0])] = int(Status.SINGULAR_INFORMATION)
    return Optimum(params, loglik, information, inverse, status, n_iter, held)


def _refresh(
    active: IntArray, fresh: BoolArray, information: FloatArray, inverse: FloatArray, held: BoolArray | None
) -> None:
    """Invert the information of replicates that have moved."""
    moved = active[fresh[active]]
    if len(moved):
        found, ok = inverse_beside(information[moved], None if held is None else held[moved])
        inverse[moved] = np.where(ok[:, None, None], found, np.nan)
        fresh[moved] = False


def _damped_step(
    information: FloatArray, score: FloatArray, damping: FloatArray, held: BoolArray | None = None
) -> FloatArray:
    """Solve (I + lambda diag|I|) s = g; where even that is singular, take a short step along the gradient.

    Held parameters do not move.
    """
    diagonal = np.abs(np.diagonal(information, axis1=-2, axis2=-1))
    diagonal = np.maximum(diagonal, 1e-10 * diagonal.max(axis=-1, keepdims=True) + 1e-300)
    raised = information + damping[:, None, None] * diagonal[:, :, None] * np.eye(information.shape[-1])
    inverse, ok = inverse_beside(raised, held)
    step = matvec(inverse, score)
    plain = score / (diagonal * (1.0 + damping[:, None]))
    if held is not None:
        plain = np.where(held, 0.0, plain)
    return np.where(ok[:, None], step, plain)


def _next_damping(damping: FloatArray, accept: BoolArray, ratio: FloatArray) -> FloatArray:
    shrunk = np.where(damping > 1e-6, damping / 5.0, 0.0)  # flat valleys want damping far below 1, not none
    good = np.where(ratio > 0.75, shrunk, np.where(ratio < 0.25, np.maximum(2.0 * damping, 0.3), damping))
    return np.where(accept, good, np.maximum(8.0 * damping, 0.3))


def first_try(
    likelihood: Likelihood[D],
    data: D,
    start: FloatArray,
    *,
    tolerance: float = TOLERANCE,
    max_iter: int = MAX_ITER,
    box: Box | None = None,
) -> Optimum:
    """Fisher scoring from one start (R, q); points that are no maxima are refused where that is cheap to know."""
    best = maximise(likelihood.evaluate, data, start, tolerance=tolerance, max_iter=max_iter, box=box)
    return _refuse_saddles(likelihood, data, best) if likelihood.verify_maximum else best


def with_fallback(
    likelihood: Likelihood[D],
    data: D,
    starts: tuple[FloatArray, ...],
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
    best = first_try(likelihood, data, starts[0], tolerance=tolerance, max_iter=max_iter, box=box)
    newton = _newton(likelihood)
    tries: list[tuple[Callable[[FloatArray, D], Evaluation], FloatArray | None, int]] = [
        (likelihood.evaluate, start, max_iter) for start in starts[1:]
    ]
    tries += [(newton, start, FALLBACK_MAX_ITER) for start in (best.params, starts[-1])]
    if box is not None:  # sides of a box make local maxima: the best point so far may not be the first one's
        tries.append((newton, None, FALLBACK_MAX_ITER))
    for evaluate, given, limit in tries:
        left = np.flatnonzero(best.status != int(Status.OK))
        if not len(left):
            break
        start = best.params if given is None else given
        subset = data.select(left)
        again = maximise(evaluate, subset, start[left], tolerance=tolerance, max_iter=limit, box=box)
        if evaluate is newton:
            again = _verify(likelihood, subset, again)
        again = replace(again, n_iter=again.n_iter + best.n_iter[left])
        better = (again.status == int(Status.OK)) | (again.loglik > best.loglik[left])
        chosen = np.flatnonzero(better)
        merged = best.put(left[chosen], _pick(again, chosen))
        best = replace(merged, n_iter=_total(merged.n_iter, left, again.n_iter))
    return best if box is None else _name_singular(best)


def _name_singular(optimum: Optimum) -> Optimum:
    """Call replicates that ran out of steps not identified where the information beside their bounds is singular."""
    assert optimum.held is not None
    left = np.flatnonzero(optimum.status == int(Status.MAX_ITER))
    _, ok = inverse_beside(optimum.information[left], optimum.held[left])
    status = optimum.status.copy()
    status[left[~ok]] = int(Status.SINGULAR_INFORMATION)
    return replace(optimum, status=status)


def _total(n_iter: IntArray, where: IntArray, values: IntArray) -> IntArray:
    n_iter = n_iter.copy()
    n_iter[where] = values
    return n_iter


def _pick(optimum: Optimum, which: IntArray) -> Optimum:
    return Optimum(
        optimum.params[which],
        optimum.loglik[which],
        optimum.information[which],
        optimum.inverse[which],
        optimum.status[which],
        optimum.n_iter[which],
        None if optimum.held is None else optimum.held[which],
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
    observed = likelihood.observed_information(optimum.params[moved], data.select(moved))
    _, maximum = inverse_beside(observed, None if optimum.held is None else optimum.held[moved])
    status = optimum.status.copy()
    status[moved[~maximum]] = int(Status.SINGULAR_INFORMATION)
    return replace(optimum, status=status)


def _verify(likelihood: Likelihood[D], data: D, optimum: Optimum) -> Optimum:
    """Give the expected information back, and take the verdict OK away from saddle points."""
    found = likelihood.evaluate(optimum.params, data)
    inverse, ok = inverse_beside(found.information, optimum.held)
    _, maximum = inverse_beside(likelihood.observed_information(optimum.params, data), optimum.held)
    status = optimum.status.copy()
    status[(status == int(Status.OK)) & ~(ok & maximum)] = int(Status.SINGULAR_INFORMATION)
    return replace(
        optimum, information=found.information, inverse=np.where(ok[:, None, None], inverse, np.nan), status=status
    )

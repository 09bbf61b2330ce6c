"""The last steps to a maximum: Newton's method with an observed information that is kept while it serves.

Fisher scoring converges linearly, at a rate that the sample sets: near the maximum each step costs as much as the first
and gains little. There the observed information H is computed once and inverted; steps H^-1 g then need log-likelihood
and score alone, and contract by the distance in standard errors from where H was computed (the chord, or simplified
Newton, method; Ortega & Rheinboldt 1970, section 7.1). H is computed again where they contract too slowly.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from simstudy.estimation.optimum import Box, Optimum
from simstudy.estimation.result import Status
from simstudy.likelihood.evaluation import Likelihood, Selectable
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, dot, inverse_spd, matvec

D = TypeVar("D", bound=Selectable)

# Newton decrement of a scoring step, twice the gain in log-likelihood that it promises, below which the point that it
# leads to is tried. Closed-form starts have 2 to 5; a try that fails costs two evaluations, and scoring goes on.
NEAR = 10.0
# Steps that are tried; where they do not arrive, there is no maximum as near as it seemed.
MOST = 10
# Of the tolerated decrement, what may be left after the last step: 1e-8 standard errors.
PRECISE = 1e-4
# H is computed again where more steps than this would be needed at the rate of the last one.
PATIENCE = 3


def finish(likelihood: Likelihood[D], data: D, start: FloatArray, tolerance: float, box: Box | None = None) -> Optimum:
    """Newton steps from ``start`` (R, q) to a maximum close by.

    `Status.OK` where the decrement g' H^-1 g fell below ``tolerance`` with H positive definite: a maximum, no saddle
    point. Others stopped where a step did not lead upwards or led out of the box, or where H was not positive definite.
    ``information`` is that of `Likelihood.evaluate`, at points that are maxima.
    """

    def inside(points: FloatArray) -> BoolArray:
        return np.ones(len(points), dtype=bool) if box is None else box.contains(points)

    params = start.copy()
    first = likelihood.with_observed(params, data)
    loglik, score = first.loglik.copy(), first.score.copy()
    inverse, positive = inverse_spd(first.information)
    status = np.full(len(params), int(Status.MAX_ITER), dtype=np.int64)
    n_iter = np.ones(len(params), dtype=np.int64)
    active: IntArray = np.flatnonzero(first.ok & positive)
    current, subset = active, data if len(active) == len(params) else data.select(active)
    last = np.full(len(params), np.inf)
    for iteration in range(1, MOST + 1):
        step = matvec(inverse[active], score[active])
        decrement = dot(score[active], step)
        after = decrement * np.minimum(
            decrement / last[active], 1.0
        )  # at the rate of the last step, 0 for Newton's own
        precise = (np.minimum(after, decrement) < PRECISE * tolerance) | (iteration == MOST)
        done = (decrement < tolerance) & precise & inside(params[active] + step)
        params[active[done]] += step[done]
        status[active[done]] = int(Status.OK)
        n_iter[active] = iteration
        keep = ~done & np.isfinite(decrement)
        active, step, decrement = active[keep], step[keep], decrement[keep]
        if not len(active) or iteration == MOST:
            break
        slow = decrement * (decrement / last[active]) ** PATIENCE > tolerance
        slow &= np.isfinite(last[active])
        last[active] = decrement
        if slow.any():
            where = active[slow]
            inverse[where], positive = inverse_spd(likelihood.observed_information(params[where], data.select(where)))
            last[where] = np.inf
            step[slow] = matvec(inverse[where], score[where])
            lost = np.zeros(len(active), dtype=bool)
            lost[slow] = ~positive
            active, step = active[~lost], step[~lost]
            if not len(active):
                break
        if len(current) != len(active):
            current, subset = active, data.select(active)
        trial = params[active] + step
        value, slope, ok = likelihood.value_and_score(trial, subset)
        with np.errstate(invalid="ignore"):
            up = inside(trial) & ok & (value - loglik[active] > -1e-11 * (1.0 + np.abs(loglik[active])))
        active = active[up]
        params[active], loglik[active], score[active] = trial[up], value[up], slope[up]
        if not len(active):
            break
    information = np.full((*params.shape, params.shape[-1]), np.nan)
    there = np.flatnonzero(status == int(Status.OK))
    if len(there):
        found = likelihood.evaluate(params[there], data if len(there) == len(params) else data.select(there))
        loglik[there], information[there] = found.loglik, found.information
        status[there[~found.ok]] = int(Status.MAX_ITER)
    return Optimum(
        params, loglik, information, status, n_iter, None if box is None else np.zeros(params.shape, dtype=bool)
    )

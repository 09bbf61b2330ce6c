"""The way up for models with random slopes: Newton's method in working parameters, and in others where it is slow."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from simstudy.estimation.optimum import Optimum
from simstudy.estimation.result import Status
from simstudy.estimation.scaled_paths import ScaledPaths
from simstudy.estimation.scoring import D, maximise, try_again, with_newton
from simstudy.likelihood.evaluation import Likelihood
from simstudy.linalg.stacked import FloatArray

FIRST, LATER = 20, 60
"""Steps of the first try, and of those that follow."""
HIGHER = 1e-6
"""Another maximum's log-likelihood is higher by that."""


class InCoordinates(Likelihood[D], Protocol[D]):
    """A log-likelihood in working parameters, whose ``evaluate`` gives the observed information."""

    cholesky: ScaledPaths

    def turned(self) -> InCoordinates[D]:
        """The same in `ScaledPaths.turned`."""
        ...


def climb_slopes(
    likelihood: InCoordinates[D], data: D, starts: tuple[FloatArray, ...], *, tolerance: float, slack: float = 0.0
) -> Optimum:
    """The best point found from all starts (R, q).

    The tries, in order: from the first start; from where that stopped, in coordinates that turn Cholesky factors about;
    from the other starts, each likewise; with an information made positive definite. Where a predictor has lost its
    variance the path from it may have run off to the wrong side: starts with that path reversed, and with none, follow.
    """
    turned = likelihood.turned()

    def climb(subset: D, start: FloatArray) -> Optimum:
        move = likelihood.cholesky.move
        return maximise(likelihood.evaluate, subset, start, tolerance=tolerance, max_iter=FIRST, move=move, slack=slack)

    def turn(subset: D, start: FloatArray) -> Optimum:
        there, here = turned.cholesky, likelihood.cholesky
        found = maximise(
            turned.evaluate,
            subset,
            there.of_natural(here.natural(start)),
            tolerance=tolerance,
            max_iter=LATER,
            move=there.move,
            slack=slack,
        )
        params = here.of_natural(there.natural(found.params))
        back = likelihood.evaluate(params, subset)
        lost = (found.status == int(Status.OK)) & ~back.ok
        status = np.where(lost, int(Status.NON_PD), found.status)
        return replace(found, params=params, information=back.information, status=status)

    best = climb(data, starts[0])
    best = try_again(best, data, best.params, turn)
    for start in starts[1:]:
        best = try_again(best, data, start, climb)
        best = try_again(best, data, best.params, turn)
    best = with_newton(likelihood, data, best, (best.params, starts[-1]), tolerance=tolerance)
    for start in starts:
        for sign in (-1.0, 0.0):
            left = np.flatnonzero(likelihood.cholesky.vanished(best.params, starts[-1]))
            if len(left):
                subset = data.select(left)
                again = climb(subset, likelihood.cholesky.with_paths(start[left], sign))
                again = try_again(again, subset, again.params, turn)
                higher = (again.status == int(Status.OK)) & ~(again.loglik <= best.loglik[left] + HIGHER)
                best = best.put(left[higher], again.pick(np.flatnonzero(higher)))
    return best

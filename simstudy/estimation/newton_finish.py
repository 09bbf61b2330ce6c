"""Scoring as far as the neighbourhood of a maximum, then Newton's method with the exact observed information.

Where values are missing, scoring converges linearly, by a factor of about the share of information that is missing;
Newton's method converges quadratically, but from crude starts it needs more steps than scoring. Where the observed
information costs no more than the expected one, a fit takes about half as many evaluations with both, and its last one
says that the point is a maximum, and is what SEs are made of.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, TypeVar

import numpy as np

from simstudy.estimation.optimum import Box, Optimum
from simstudy.estimation.result import Status
from simstudy.estimation.scoring import MAX_ITER, TOLERANCE, maximise, with_fallback
from simstudy.likelihood.evaluation import Likelihood, Selectable
from simstudy.linalg.stacked import FloatArray

D = TypeVar("D", bound=Selectable)

# Twice the gain in log-likelihood that a scoring step promises, below which Newton's method takes over. From 10 to 0.1
# the number of evaluations is the same within one.
NEAR = 10.0


def scored_then_newton(
    likelihood: Likelihood[D],
    data: D,
    start: FloatArray,
    *,
    tolerance: float = TOLERANCE,
    max_iter: int = MAX_ITER,
    box: Box | None = None,
) -> Optimum:
    """Climb from one start (R, q); ``information`` of what arrives is the observed one, which is positive definite."""
    first = maximise(likelihood.evaluate, data, start, tolerance=NEAR, max_iter=max_iter, box=box)
    near = np.flatnonzero(first.status == int(Status.OK))
    if not len(near):
        return first
    begin = first.params[near]
    last = maximise(
        likelihood.evaluate_observed, data.select(near), begin, tolerance=tolerance, max_iter=max_iter, box=box
    )
    return first.put(near, replace(last, n_iter=last.n_iter + first.n_iter[near]))


class NewtonFinish:
    """`scored_then_newton`, and with the tries of `scoring.with_fallback`."""

    by_pairs: ClassVar[bool] = False
    observes: ClassVar[bool] = True

    def once(self, likelihood: Likelihood[D], data: D, start: FloatArray) -> Optimum:
        """From one start (R, q)."""
        return scored_then_newton(likelihood, data, start)

    def fully(
        self, likelihood: Likelihood[D], data: D, starts: tuple[FloatArray, ...], box: Box | None = None
    ) -> Optimum:
        """From all starts, then Newton's method with the information made positive definite."""
        return with_fallback(likelihood, data, starts, box=box, first_try=scored_then_newton, observes=True)


NEWTON_FINISH = NewtonFinish()

"""Maxima of log-likelihoods that are integrated by quadrature: as many nodes as their error asks for (theory D1.4).

Likelihoods of more and more nodes form rungs. The maximum on the first is looked at from the next one: there the
log-likelihood differs by the first one's error, and a step of Newton's method, with the information at hand, takes the
estimate to the maximum of the finer rule (up to second order). Where that step is long, the finer rung is climbed from
there. Where the error is large, the point reached is looked at from the next rung.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from simstudy.estimation.optimum import Optimum
from simstudy.estimation.result import Status
from simstudy.likelihood.evaluation import Selectable
from simstudy.linalg.stacked import BoolArray, FloatArray, IntArray, dot, matvec

EXACT, DOUBLED, POWER = 1e-6, 1.75, 1.5
"""The error that a log-likelihood may have. Twice the nodes make its logarithm 1.5 to 1.8 times as large (theory D1.4's
tables); with fewer more than that it is taken to be no less than the difference."""
SURE = 1e-3
"""From an error below this on, only the log-likelihood can gain by more nodes: estimates have been moved."""
SHORT, TINY = 3e-6, 1e-7
"""Decrement of a last step: the first moves no estimate by more than 2e-3 of its standard error, and leaves standard
errors right to some 1e-4. After one that is not tiny another is taken, from the next rung."""

D = TypeVar("D", bound=Selectable)
C = TypeVar("C", contravariant=True)


class Rung(Protocol[C]):
    """A log-likelihood of so many nodes a dimension."""

    @property
    def nodes(self) -> int:
        """A dimension."""
        ...

    def slope(self, params: FloatArray, data: C) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Log-likelihood (R,), score (R, q), and where they exist (R,), at what it optimises over."""
        ...

    def loglik(self, params: FloatArray, data: C) -> FloatArray:
        """Log-likelihood (R,) alone."""
        ...


@dataclass(frozen=True)
class Settled:
    """What was found.

    Attributes
    ----------
    best : Optimum
        Its log-likelihood is that of the finest rung looked from, its information that of the last one climbed.
    nodes : (R,)
        Nodes a dimension of the log-likelihood.
    error : (R,)
        Of the log-likelihood, judged by that of the rung before.
    """

    best: Optimum
    nodes: FloatArray | None
    error: FloatArray | None

    @classmethod
    def plain(cls, best: Optimum) -> Settled:
        """A maximum of a likelihood that is no integral."""
        return cls(best, None, None)

    @property
    def measures(self) -> dict[str, FloatArray]:
        """What to tell of the quadrature."""
        if self.nodes is None or self.error is None:
            return {}
        return {"nodes": self.nodes, "loglik_error": self.error}


def by_nodes(
    rungs: Sequence[Rung[D]],
    data: D,
    starts: tuple[FloatArray, ...],
    climb: Callable[[int, D, tuple[FloatArray, ...]], Optimum],
    short: float = TINY,
) -> Settled:
    """The maximum for R data sets.

    Parameters
    ----------
    climb : callable
        Number of a rung, data and starts -> the maximum on it.
    short : float
        Decrement of a step that is short: `SHORT` where climbing again is dear.
    """
    best = climb(0, data, starts)
    n = len(best.status)
    nodes, error = np.full(n, float(rungs[0].nodes)), np.full(n, np.nan)
    left: IntArray = np.arange(n)
    sure = np.zeros(n, dtype=bool)
    for k, finer in enumerate(rungs[1:], 1):
        subset = data.select(left)
        mine = best.pick(left)
        loglik, score, ok = _look(finer, mine.params, subset, sure[left])
        step = matvec(mine.inverse, score)
        gain = dot(score, step)
        with np.errstate(invalid="ignore"):
            gap = np.abs(loglik - mine.loglik)
            missed = np.minimum(gap, gap**POWER) if finer.nodes >= DOUBLED * rungs[k - 1].nodes else gap
            near = (mine.status == int(Status.OK)) & ok & (gain >= 0.0) & (gain < short)
        nodes[left], error[left], sure[left] = float(finer.nodes), missed, near & (gap < SURE) & (gain < TINY)
        moved = replace(mine, params=mine.params + step, loglik=loglik + 0.5 * gain)
        best = best.put(left[near], moved.pick(np.flatnonzero(near)))
        apart = np.flatnonzero(~near)
        if len(apart):
            far = left[apart]
            begin = np.where(np.isfinite(mine.params[apart]), mine.params[apart], starts[0][far])
            again = climb(k, subset.select(apart), (begin, *(start[far] for start in starts)))
            best = best.put(far, replace(again, n_iter=again.n_iter + best.n_iter[far]))
        left = left[~(near & (gain < TINY) & (missed < EXACT))]
        if not len(left):
            break
    return Settled(best, nodes, error)


def _look(rung: Rung[D], params: FloatArray, data: D, sure: BoolArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Log-likelihood (R,), score (R, q), taken as 0 where points are ``sure``, and where they exist (R,)."""
    loglik, score, ok = np.empty(len(params)), np.zeros_like(params), np.ones(len(params), dtype=bool)
    known, open_ = np.flatnonzero(sure), np.flatnonzero(~sure)
    if len(known):
        loglik[known] = rung.loglik(params[known], data.select(known))
        ok[known] = np.isfinite(loglik[known])
    if len(open_):
        loglik[open_], score[open_], ok[open_] = rung.slope(params[open_], data.select(open_))
    return loglik, score, ok
